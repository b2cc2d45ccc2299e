"""Rows that are sealed, and which keys a database needs."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import LargeBinary, Text, insert, select

from amrikyy.db import Database, encryption_keys, open_database
from amrikyy.db.sealed import seal_row, unseal_row
from amrikyy.db.tables import metadata, workflow_definitions
from amrikyy.errors import Undecryptable
from amrikyy.sealing import Sealer, key_id
from amrikyy.settings import ConfigurationError

KEY, OTHER = b"k" * 32, b"o" * 32

WITHOUT_CONTENT = {"audit_log.details"}
"""Long columns that hold nothing of a request or a result; what is added here has a reason."""


def test_every_long_column_is_sealed_or_known_to_hold_no_content() -> None:
    long = {
        f"{table.name}.{column.name}": bool(column.info.get("sealed"))
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Text | LargeBinary)
    }
    assert {name for name, is_sealed in long.items() if not is_sealed} == WITHOUT_CONTENT


async def test_a_row_is_sealed_and_one_that_swapped_content_with_another_is_refused(database: Database) -> None:
    sealer, now = Sealer(KEY), datetime.now(UTC)
    rows = [
        {"name": name, "version": 1, "definition": f'"{name}"', "saved_by": "me", "saved_at": now}
        for name in ("first", "second")
    ]
    async with database.begin() as connection:
        for row in rows:
            await connection.execute(insert(workflow_definitions).values(seal_row(sealer, workflow_definitions, row)))
        stored = (await connection.execute(select(workflow_definitions))).all()
        assert not any("first" in row.definition or "second" in row.definition for row in stored)
        assert [unseal_row(sealer, workflow_definitions, row)["definition"] for row in stored] == [
            '"first"',
            '"second"',
        ]
        one, two = stored
        for name, content in ((one.name, two.definition), (two.name, one.definition)):
            await connection.execute(
                workflow_definitions.update().where(workflow_definitions.c.name == name).values(definition=content)
            )
        for swapped in (await connection.execute(select(workflow_definitions))).all():
            with pytest.raises(Undecryptable):
                unseal_row(sealer, workflow_definitions, swapped)


async def test_a_server_without_the_key_or_with_another_one_must_not_start(database: Database) -> None:
    await encryption_keys.note(database, Sealer())
    await encryption_keys.note(database, Sealer(KEY))
    await encryption_keys.note(database, Sealer(KEY))
    with pytest.raises(ConfigurationError, match=f"ENCRYPTION_KEY is not set.* {key_id(KEY)}:"):
        await encryption_keys.note(database, Sealer())
    with pytest.raises(ConfigurationError, match=f"{key_id(KEY)} is needed, not {key_id(OTHER)}"):
        await encryption_keys.note(database, Sealer(OTHER))
    assert await encryption_keys.noted(database) == {key_id(KEY)}
    await encryption_keys.note(database, Sealer(OTHER, [KEY]))
    assert await encryption_keys.noted(database) == {key_id(KEY), key_id(OTHER)}
    assert await encryption_keys.forget(database, key_id(KEY))
    assert not await encryption_keys.forget(database, key_id(KEY))
    await encryption_keys.note(database, Sealer(OTHER))


async def test_of_several_processes_that_note_a_key_at_once_none_fails(database_url: str) -> None:
    databases = [open_database(database_url) for _ in range(4)]
    await asyncio.gather(*(encryption_keys.note(each, Sealer(KEY)) for each in databases))
    assert await encryption_keys.noted(databases[0]) == {key_id(KEY)}
    for each in databases:
        await each.close()
