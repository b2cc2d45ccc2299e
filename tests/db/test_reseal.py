"""Writing anew what is sealed with another key: in batches, broken off and begun again, while others write."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, func, insert, select, update

from amrikyy.db import Database
from amrikyy.db import reseal as module
from amrikyy.db.reseal import Resealed, reseal
from amrikyy.db.sealed import seal_row, unseal_row
from amrikyy.db.tables import SEALED
from amrikyy.db.tables import workflow_definitions as table
from amrikyy.sealing import PLAIN, Sealer

OLD, NEW = Sealer(b"o" * 32), Sealer(b"n" * 32, [b"o" * 32])
ROWS = 25


async def write(database: Database, sealer: Sealer, *numbers: int) -> None:
    rows = [
        {"name": f"w{number // 5}", "version": number, "definition": f'"{number}"', "saved_by": "me",
         "saved_at": datetime.now(UTC)}
        for number in numbers
    ]  # fmt: skip
    async with database.begin() as connection:
        for row in rows:
            await connection.execute(insert(table).values(seal_row(sealer, table, row)))


async def read(database: Database, sealer: Sealer) -> dict[int, str]:
    async with database.connect() as connection:
        return {
            row.version: unseal_row(sealer, table, row)["definition"] for row in await connection.execute(select(table))
        }


async def sealed_with(database: Database, sealer: Sealer) -> int:
    query = select(func.count()).where(table.c.definition.startswith(sealer.mark))
    async with database.connect() as connection:
        return int((await connection.execute(query)).scalar_one())


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


async def test_what_is_in_the_clear_or_of_an_old_key_is_written_anew_and_the_rest_left_alone(
    database: Database,
) -> None:
    await write(database, PLAIN, *range(10))
    await write(database, OLD, *range(10, 20))
    await write(database, NEW, *range(20, ROWS))
    (result,) = await reseal(database, NEW, [table])
    assert result == Resealed("workflow_definitions", total=20, done=20)
    assert await sealed_with(database, NEW) == ROWS
    assert await read(database, NEW) == {number: f'"{number}"' for number in range(ROWS)}


async def test_it_can_be_broken_off_and_begun_again(database: Database) -> None:
    await write(database, OLD, *range(ROWS))

    def stop(progress: Resealed) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await reseal(database, NEW, [table], stop)
    assert await sealed_with(database, NEW) == 4
    (result,) = await reseal(database, NEW, [table])
    assert (result.total, result.done, result.remaining) == (ROWS - 4, ROWS - 4, 0)
    assert len(await read(database, NEW)) == ROWS


async def test_what_a_server_changes_meanwhile_is_not_overwritten(database: Database) -> None:
    await write(database, OLD, *range(ROWS))
    changing = asyncio.Event()

    async def change() -> None:
        for number in reversed(range(ROWS)):
            values = seal_row(NEW, table, {"definition": f'"new {number}"'}, f"w{number // 5}", number)
            async with database.begin() as connection:
                await connection.execute(update(table).where(table.c.version == number).values(values))
            changing.set()

    task = asyncio.create_task(change())
    await changing.wait()
    await reseal(database, NEW, [table])
    await task
    assert await read(database, NEW) == {number: f'"new {number}"' for number in range(ROWS)}


async def test_a_row_that_cannot_be_read_is_counted_and_left_as_it_is(database: Database) -> None:
    await write(database, OLD, *range(ROWS))
    await write(database, Sealer(b"x" * 32), 99)
    (result,) = await reseal(database, NEW, [table])
    assert (result.done, result.unreadable, result.example, result.remaining) == (ROWS, 1, "w19 99", 1)
    assert await sealed_with(database, Sealer(b"x" * 32)) == 1


async def test_without_a_key_to_write_with_everything_is_written_in_the_clear(database: Database) -> None:
    await write(database, OLD, *range(ROWS))
    await reseal(database, Sealer(None, [b"o" * 32]), [table])
    assert await read(database, PLAIN) == {number: f'"{number}"' for number in range(ROWS)}


async def test_columns_of_bytes_are_written_anew_too(database: Database) -> None:
    blobs = Table(
        "blobs", MetaData(), Column("id", Integer, primary_key=True), Column("data", LargeBinary, info=SEALED)
    )
    sealers = (PLAIN, OLD, NEW)
    async with database.begin() as connection:
        await connection.run_sync(blobs.create)
        for number, sealer in enumerate(sealers):
            await connection.execute(insert(blobs).values(seal_row(sealer, blobs, {"id": number, "data": b"\x00\xff"})))
    (result,) = await reseal(database, NEW, [blobs])
    assert (result.total, result.done, result.remaining) == (2, 2, 0)
    async with database.connect() as connection:
        stored = (await connection.execute(select(blobs))).all()
    assert all(row.data.startswith(NEW.bytes_mark) for row in stored)
    assert [unseal_row(NEW, blobs, row)["data"] for row in stored] == [b"\x00\xff"] * len(sealers)
    await reseal(database, Sealer(None, [b"n" * 32]), [blobs])
    async with database.connect() as connection:
        assert {row.data for row in await connection.execute(select(blobs))} == {b"\x00\xff"}
