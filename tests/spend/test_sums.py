"""Sums of the ledger: read in place of its entries, they say the same, whatever happened meanwhile."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, func, select, text, update

from amrikyy.db import Database, migrate, open_database
from amrikyy.db.tables import spend, spend_days, spend_summed
from amrikyy.runs.accounts import ledger_insert
from amrikyy.spend import GROUPS, Ledger, Sums, UsageGroup, sums

Row = dict[str, Any]
FIRST = date(2026, 11, 1)
MODELS = ("gemini-2.0-flash-exp", "gemini-2.5-pro", "home-made")
FILTERS: list[dict[str, Any]] = [
    {},
    {"caller": "user:1"},
    {"caller": "*"},
    {"agent": "content", "since": FIRST + timedelta(days=1)},
    {"operation": "second", "until": FIRST + timedelta(days=2)},
    {"model": "home-made"},
    {"caller": "user:2", "model": "gemini-2.5-pro", "since": FIRST, "until": FIRST},
]


class Writing:
    """Writes entries as the run log does. Prices are sums of powers of two: the order of adding does not matter."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self.random = random.Random(seed)
        self.ids = itertools.count()
        self.entries: dict[tuple[str, str], Row] = {}

    def run(self) -> list[Row]:
        """What a run is charged for that asked some models."""
        choose = self.random
        whose = {
            "run_id": f"run_{choose.randrange(16):x}_{next(self.ids)}",  # ids in no order
            "owner": f"user:{choose.randrange(3)}",
            "agent": choose.choice(("content", "travel")),
            "operation": choose.choice(("first", "second")),
            "day": (FIRST + timedelta(days=choose.randrange(4))).isoformat(),
        }
        return [whose | {"model": model} | self.amounts() for model in choose.sample(MODELS, choose.choice((1, 1, 2)))]

    def again(self) -> list[Row]:
        """What a run that is there is charged for in the end, another model included."""
        entry = self.random.choice(list(self.entries.values()))
        return [entry | self.amounts(), entry | {"model": self.random.choice(MODELS)} | self.amounts()]

    def amounts(self) -> Row:
        """Any."""
        return {
            "input_tokens": self.random.randrange(1000),
            "output_tokens": self.random.randrange(1000),
            "cost_usd": None if self.random.random() < 0.2 else self.random.randrange(1 << 20) / 4096,
            "usage_estimated": self.random.random() < 0.3,
        }

    async def write(self, rows: Iterable[Row]) -> None:
        """In one transaction."""
        rows = list({(row["run_id"], row["model"]): row for row in rows}.values())
        await self.database.write((ledger_insert(self.database.dialect), rows))
        self.entries |= {(row["run_id"], row["model"]): row for row in rows}

    async def is_told(self, *, at_length: bool = False) -> None:
        """Usage is what the entries say, however it is asked for."""
        ledger = Ledger(self.database)
        groupings = [(), ("caller",), ("day", "agent"), ("model", "operation"), tuple(GROUPS)]
        for only in FILTERS if at_length else FILTERS[:2]:
            for names in groupings if at_length else groupings[-2:]:
                total, groups = await ledger.usage(names, **only)
                assert groups == list(self.grouped(names, only)), (names, only)
                assert [total] == list(self.grouped((), only))

    def grouped(self, names: tuple[str, ...], only: dict[str, Any]) -> Iterator[UsageGroup]:
        """The same from what was written."""
        groups: dict[tuple[str, ...], list[Row]] = defaultdict(list, {} if names else {(): []})
        for row in self.entries.values():
            if _matches(row, only):
                groups[tuple(row[GROUPS[name]] for name in names)].append(row)
        for key, rows in sorted(groups.items()):
            costs = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
            yield UsageGroup(
                dict(zip(names, key, strict=True)),
                len({row["run_id"] for row in rows}),
                sum(row["input_tokens"] for row in rows),
                sum(row["output_tokens"] for row in rows),
                sum(costs, 0.0),
                len(rows) - len(costs),
                sum(row["usage_estimated"] for row in rows),
            )


def _matches(row: Row, only: dict[str, Any]) -> bool:
    equal = all(row[GROUPS[name]] == only[name] for name in GROUPS if name in only)
    since, until = only.get("since", date.min).isoformat(), only.get("until", date.max).isoformat()
    return equal and since <= row["day"] <= until


async def _summed(database: Database) -> int:
    async with database.connect() as connection:
        return int((await connection.execute(select(spend_summed.c.through))).scalar_one())


async def test_what_is_summed_up_is_told_as_before(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "BATCH", 7)
    writing, adding = Writing(database, 1), Sums(database)
    await adding.add_up()
    await writing.is_told()
    for _ in range(40):
        await writing.write(row for _ in range(writing.random.randrange(1, 4)) for row in writing.run())
        if writing.random.random() < 0.4:
            await writing.write(writing.again())
        if writing.random.random() < 0.3:
            await adding.add_up()
    await writing.is_told()
    assert await _summed(database) > 0
    assert await adding.wrong_days() == []
    await adding.add_up()
    await writing.write(writing.again())
    await writing.is_told(at_length=True)
    await adding.renew()
    await writing.is_told()
    assert await adding.wrong_days() == []


async def test_an_entry_counts_once_whoever_adds_up_changes_it_and_reads_meanwhile(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "BATCH", 3)
    writing = Writing(database, 3)
    await writing.write(row for _ in range(30) for row in writing.run())
    (expected,) = writing.grouped((), {})
    others = [open_database(database_url) for _ in range(3)]
    ended = asyncio.Event()

    async def change() -> None:
        # Nothing that reading sees: the amounts are exchanged between two entries of the same group.
        one, two = list(writing.entries.values())[:2]
        for _ in range(10):
            for name in ("input_tokens", "output_tokens", "cost_usd", "usage_estimated"):
                one[name], two[name] = two[name], one[name]
            await writing.write([one, two])

    async def read() -> None:
        while not ended.is_set():
            total, _ = await Ledger(database).usage(())
            assert total == expected

    reading = asyncio.create_task(read())
    await asyncio.gather(change(), *(Sums(each).add_up() for each in others))
    ended.set()
    await reading
    assert await Sums(database).wrong_days() == []
    await Sums(database).add_up()
    async with database.connect() as connection:
        assert await _summed(database) == (await connection.execute(select(func.max(spend.c.number)))).scalar_one()
    await writing.is_told()
    for each in others:
        await each.close()


async def test_adding_up_that_is_broken_off_has_added_or_has_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "BATCH", 1)
    writing, adding = Writing(database, 4), Sums(database)
    await writing.write(row for _ in range(20) for row in writing.run())
    for turn in range(10):
        work = asyncio.create_task(adding.add_up())
        await asyncio.sleep(0.001 * turn)
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        assert await adding.wrong_days() == []
    await writing.is_told()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
async def test_what_is_written_but_not_committed_is_waited_for(database: Database) -> None:
    writing, adding = Writing(database, 5), Sums(database)
    late = writing.run()
    async with database.begin() as connection:
        for statement, parameters in ledger_insert("postgresql").executions(connection.dialect, late):
            await connection.exec_driver_sql(statement, parameters)  # has a lower number than what comes now
        await writing.write(writing.run())
        await adding.add_up()
        assert await _summed(database) == 0
    writing.entries |= {(row["run_id"], row["model"]): row for row in late}
    await adding.add_up()
    assert await _summed(database) > 0
    await writing.is_told()


async def test_sums_that_are_wrong_are_found_and_made_anew(database: Database) -> None:
    writing, adding = Writing(database, 6), Sums(database)
    await writing.write(row for _ in range(20) for row in writing.run())
    await adding.add_up()
    wrong = (FIRST + timedelta(days=1)).isoformat()
    async with database.begin() as connection:
        one = select(spend_days.c.owner).where(spend_days.c.day == wrong, spend_days.c.owner != "*").limit(1)
        of_one = update(spend_days).where(spend_days.c.day == wrong, spend_days.c.owner == one.scalar_subquery())
        await connection.execute(of_one.values(cost_usd=spend_days.c.cost_usd + 0.25))
    assert await adding.wrong_days() == [wrong]
    await adding.renew()
    assert await adding.wrong_days() == []
    await writing.is_told()


async def test_a_database_of_before_is_read_as_it_is_and_summed_up_later(
    empty_database_url: str,
) -> None:
    database = open_database(empty_database_url)

    def as_it_was(connection: Connection) -> None:
        command.upgrade(migrate.alembic_config(connection), "0009")

    async with database.begin() as connection:
        await connection.run_sync(as_it_was)
    writing = Writing(database, 7)
    rows = [row for _ in range(20) for row in writing.run()]
    names = ", ".join(rows[0])
    async with database.begin() as connection:
        await connection.execute(
            text(f"INSERT INTO spend ({names}) VALUES ({', '.join(f':{name}' for name in rows[0])})"),  # noqa: S608 - our own
            rows,
        )
    writing.entries = {(row["run_id"], row["model"]): row for row in rows}
    await migrate.upgrade(database)
    await writing.is_told()
    await Sums(database).add_up()
    await writing.write(writing.again())
    await writing.is_told()
    assert await Sums(database).wrong_days() == []
    await database.close()
