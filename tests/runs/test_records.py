"""The record of runs in the database, and what happens without one."""

import asyncio
import itertools
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text, update
from structlog.testing import capture_logs

from amrikyy.db import Database, open_database
from amrikyy.db.reseal import reseal
from amrikyy.db.tables import runs
from amrikyy.errors import ModelRefused, NotFound, Unavailable
from amrikyy.runs import pages
from amrikyy.runs.events import Event
from amrikyy.runs.execution import Outcome
from amrikyy.runs.lost import RECORDED_WITHIN
from amrikyy.runs.run import Run, began_at, first_id, new_run_id
from amrikyy.runs.statistics import RunStatistics
from amrikyy.runs.store import BATCH, MAX_PENDING, TURNS, RunRecords
from amrikyy.sealing import Sealer


@pytest.fixture
async def records(database: Database) -> AsyncIterator[RunRecords]:
    opened = RunRecords(database)
    yield opened
    await opened.close()


@pytest.fixture
def transactions(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each that has begun."""
    begun: list[str] = []
    write = database.write

    async def counting(*inserts: Any) -> None:
        begun.append("begun")
        await write(*inserts)

    monkeypatch.setattr(database, "write", counting)
    return begun


def started(**fields: object) -> Run:
    given: dict[str, Any] = {
        "owner": "user:1",
        "agent": "travel",
        "operation": "searchFlights",
        "request": b'{"origin":"JFK"}',
        "deadline_s": 60,
    }
    run = Run(**(given | fields))
    run.execution.append(Event("started"))
    return run


def complete(run: Run, result: bytes = b'{"ok":true}') -> Run:
    run.duration_s = 0.25
    run.execution.spent.add(["offline"], 3, 4, 0.5, estimated=False)
    run.execution.end(Event("completed"), Outcome(result=result))
    return run


async def test_a_run_is_found_as_it_was_the_moment_before(records: RunRecords) -> None:
    began = datetime(2026, 11, 30, 12, 0, 0, 123_456, tzinfo=UTC)
    run = started(started_at=began.timestamp())
    records.note(run)
    assert (await records.get(run.id, owner="user:1")).status == "running"
    records.note(complete(run))
    record = await records.get(run.id, owner=None)
    assert (record.status, record.result, record.request) == ("completed", {"ok": True}, {"origin": "JFK"})
    assert (record.input_tokens, record.output_tokens, record.cost_usd, record.duration_ms) == (3, 4, 0.5, 250.0)
    assert (record.events, record.started_at) == (2, began)
    with pytest.raises(NotFound):
        await records.get(run.id, owner="user:2")


async def test_the_error_of_a_failed_run_is_kept(records: RunRecords) -> None:
    run = started()
    error = ModelRefused("No.", details=[{"field": "x"}], retry_after_s=3)
    run.execution.end(Event("failed", error), Outcome(error=error))
    records.note(run)
    record = await records.get(run.id, owner=None)
    assert record.status == "failed"
    assert record.error == {
        "status": 502,
        "error": "Model refused",
        "code": "model_refused",
        "message": "No.",
        "details": [{"field": "x"}],
        "retry_after_s": 3,
    }


async def test_many_runs_are_written_in_few_transactions(records: RunRecords, transactions: list[str]) -> None:
    for _ in range(300):
        records.note(complete(started()))
    async with asyncio.timeout(10):
        while records.waiting:
            await asyncio.sleep(0.01)
    assert len(transactions) <= 2
    assert len(await records.page(owner="user:1", limit=500)) == 300


async def test_a_run_that_goes_on_is_recorded_before_its_end_and_one_that_ends_soon_is_written_once(
    records: RunRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str]] = []
    row = records._row

    def noting(run: Run) -> dict[str, object]:
        written.append((run.id, run.status))
        return row(run)

    monkeypatch.setattr(records, "_row", noting)
    lasting, short = started(), started()
    records.note(lasting)
    records.note(short)
    async with asyncio.timeout(10):
        while not written:
            records.note(complete(short) if not short.ended else short)
            await asyncio.sleep(0.01)
        while records.waiting:
            await asyncio.sleep(0.01)
    assert {status for run_id, status in written if run_id == short.id} == {"completed"}
    assert (lasting.id, "running") in written


async def test_all_who_wait_for_their_records_at_the_same_time_share_a_transaction(
    records: RunRecords, transactions: list[str]
) -> None:
    async def accept() -> None:
        records.note(started())
        await records.flush()

    await asyncio.gather(*(accept() for _ in range(50)))
    assert records.waiting == 0
    assert len(transactions) <= 2


async def test_without_a_database_runs_wait_and_new_ones_are_refused_before_any_is_lost() -> None:
    unreachable = open_database("postgresql://nobody@127.0.0.1:9/nothing")
    records = RunRecords(unreachable)
    first = started()
    records.note(first)
    with pytest.raises(Unavailable):
        await records.get(first.id, owner=None)
    with capture_logs() as logs:
        async with asyncio.timeout(10):
            while "runs_cannot_be_recorded" not in [line["event"] for line in logs]:
                await asyncio.sleep(0.01)
    for _ in range(MAX_PENDING - 1):
        records.note(started())
    with pytest.raises(Unavailable) as caught:
        records.note(started())
    assert caught.value.code == "database_unavailable"
    records.note(complete(first))  # an end is always taken
    assert records.waiting == MAX_PENDING
    await records.close()
    await unreachable.close()


async def test_runs_that_come_faster_than_they_can_be_recorded_are_refused_for_that(records: RunRecords) -> None:
    for _ in range(MAX_PENDING):
        records.note(started())
    with pytest.raises(Unavailable) as caught:
        records.note(started())
    assert caught.value.code == "overloaded"
    flushing = asyncio.create_task(records.flush())
    while not records._in_writing:
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="faster than they can be recorded"):
        records.check()  # what is being written is not recorded yet
    await flushing
    records.note(started())


async def test_a_batch_is_put_together_in_few_turns_however_large_it_is(database: Database) -> None:
    turn, turns = 0, set()

    class Observed(RunRecords):
        def _row(self, run: Run) -> dict[str, Any]:
            turns.add(turn)
            return super()._row(run)

    def count() -> None:
        nonlocal turn
        turn += 1
        counting[0] = asyncio.get_running_loop().call_soon(count)

    counting = [asyncio.get_running_loop().call_soon(count)]
    records = Observed(database)
    for _ in range(BATCH[database.dialect]):
        records.note(complete(started()))
    await records.flush()
    counting[0].cancel()
    await records.close()
    assert 1 < len(turns) <= TURNS, "others have a turn in between, but not so many that it falls behind"


async def test_a_run_of_a_process_that_died_is_reported_as_lost(records: RunRecords, database: Database) -> None:
    here, pid, before = records.instance.rsplit(":", 2)[0], os.getpid(), datetime.now(UTC) - timedelta(seconds=9)
    host = here.partition("/")[0]
    ending, over = (datetime.now(UTC) - RECORDED_WITHIN + timedelta(seconds=by) for by in (2, -1))
    ended = subprocess.Popen(["true"])
    ended.wait()
    cases: dict[str, tuple[str, dict[str, object]]] = {
        "mine": ("running", {}),
        "ended here": ("failed", {"instance": f"{here}:{ended.pid}:a"}),
        "lives here": ("running", {"instance": f"{here}:{os.getppid()}:a"}),
        "earlier, with our pid": ("failed", {"instance": f"{here}:{pid}:a", "started_at": before}),
        "this container before its restart": ("failed", {"instance": f"{host}/x:{pid}:a", "started_at": before}),
        "a container beside us on one host name": ("running", {"instance": f"{host}/x:{pid}:a"}),
        "another machine": ("running", {"instance": f"another/x:{ended.pid}:a"}),
        "another machine, just after the deadline": ("running", {"instance": "another/x:1:a", "deadline_at": ending}),
        "another machine, after the deadline": ("failed", {"instance": "another/x:1:a", "deadline_at": over}),
    }
    noted = {name: started() for name in cases}
    for run in noted.values():
        records.note(run)
    await records.flush()
    async with database.begin() as connection:
        for name, (_, values) in cases.items():
            if values:
                await connection.execute(update(runs).where(runs.c.id == noted[name].id).values(**values))
    found = {name: await records.get(run.id, owner=None) for name, run in noted.items()}
    assert {name: record.status for name, record in found.items()} == {name: is_ for name, (is_, _) in cases.items()}
    assert {record.error["code"] for record in found.values() if record.status == "failed"} == {"run_lost"}
    listed = {
        status: [record.status for record in await records.page(owner=None, status=status)]
        for status in ("running", "failed", "queued", "completed")
    }
    assert listed == {"running": ["running"] * 5, "failed": ["failed"] * 4, "queued": [], "completed": []}
    assert (await records.get(noted["ended here"].id, owner=None)).error["code"] == "run_lost"


async def test_the_end_of_a_run_that_was_taken_for_lost_is_recorded_and_counted_once(database: Database) -> None:
    here, there = RunRecords(database, Sealer(b"k" * 32)), RunRecords(database, Sealer(b"k" * 32))
    there.instance = "another/x:1:a"
    run = started(deadline_s=-60)
    there.note(run)
    await there.flush()
    (record,) = await here.page(owner=None, status="failed")
    assert (record.id, (await there.get(run.id, owner=None)).error["code"]) == (run.id, "run_lost")
    there.note(complete(run))
    await there.flush()
    assert await here.page(owner=None, status="failed") == []
    record = await here.get(run.id, owner=None)
    assert (record.status, record.error, record.result) == ("completed", None, {"ok": True})
    counted = (await RunStatistics(database).by_agent(["travel"]))["travel"]
    assert (counted.runs, counted.failed) == (1, 0)
    for records in (here, there):
        await records.close()


async def test_a_database_that_can_only_be_read_still_lists_what_it_has(
    records: RunRecords, database: Database, database_url: str
) -> None:
    failed, lost = started(), started(deadline_s=-60)
    error = ModelRefused("No.")
    failed.execution.end(Event("failed", error), Outcome(error=error))
    records.note(failed)
    records.note(lost)
    await records.flush()
    replica = open_database(database_url)
    read_only = "PRAGMA query_only=ON" if replica.dialect == "sqlite" else "SET TRANSACTION READ ONLY"
    event.listen(replica.engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(read_only))
    reading = RunRecords(replica)
    reading.instance = "another/x:1:a"
    with capture_logs() as logs:
        assert [record.id for record in await reading.page(owner=None, status="failed")] == [failed.id]
    assert "database_unavailable" in [entry["event"] for entry in logs]
    await reading.close()
    await replica.close()


async def test_lost_runs_are_looked_for_in_an_index(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    asked: list[tuple[str, Any]] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
    records = RunRecords(database)
    records.note(started(deadline_s=-60))
    await records.flush()
    records.instance = "another/x:1:a"
    asked.clear()
    assert len(await records.page(owner=None, status="failed")) == 1
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        plans = [
            [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters) if " runs " in row[3]]
            for statement, parameters in asked
            if "runs" in statement
        ]
    search = "SEARCH runs USING INDEX"
    by_status, by_id = f"{search} ix_runs_status_id (status=?)", f"{search} sqlite_autoindex_runs_1 (id=?)"
    assert plans == [[by_status], [by_status], [by_id], [by_status]]
    await records.close()
    await database.close()


async def test_old_runs_are_deleted_in_batches(records: RunRecords) -> None:
    then, now = datetime.now(UTC) - timedelta(days=40), datetime.now(UTC) - timedelta(days=29)
    old = [started(id=f"{first_id(then)}{number:017x}", started_at=then.timestamp()) for number in range(25)]
    new = complete(started(id=f"{first_id(now)}{1:017x}", started_at=now.timestamp()))
    for run in (*old, new):
        records.note(run)
    await records.flush()
    assert await records.purge(timedelta(days=30), batch=10) == 25
    assert [record.id for record in await records.page(owner=None)] == [new.id]


def test_ids_tell_what_was_started_before() -> None:
    run_id = new_run_id()
    assert first_id(began_at(run_id)) <= run_id < first_id(began_at(run_id) + timedelta(milliseconds=1))


async def test_pages_are_read_in_the_order_of_an_index_and_found_by_what_tells_most(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    asked: list[tuple[str, Any]] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
    records = RunRecords(database)
    for run in (started(), started(operation="searchHotels"), started(agent="content")):
        records.note(run)
    await records.flush()
    one_operation = {"agent": "travel", "operation": "searchFlights"}
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        for owner, which, status, parent_id in itertools.product(
            (None, "user:1"),
            ({}, {"agent": "travel"}, {"operation": "searchFlights"}, one_operation),
            (None, "completed", "failed"),
            (None, "run_1"),
        ):
            only: dict[str, Any] = {"owner": owner, "status": status, "parent_id": parent_id, **which}
            await records.page(before="run_2", **only)
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[-1][0]}", asked[-1][1])]
            steps = [step for step in plan if " runs " in step]
            if len(which) == 1 and not (owner or parent_id):
                assert len(steps) == 2, plan  # one for each operation, or each agent
            else:
                assert steps == plan  # nothing is sorted
            rare = "status=? AND " if status == "failed" and not parent_id else ""
            place = (
                "parent_id=? AND " if parent_id
                else "owner=? AND " if owner
                else "agent=? AND operation=? AND " if which
                else ""
            )  # fmt: skip
            assert {step.partition(" (")[2] for step in steps} == {f"{place}{rare}id<?)"}, plan
    await records.close()
    await database.close()


@pytest.mark.parametrize("status", [None, "completed", "failed"])
async def test_an_agents_runs_are_listed_newest_first_whatever_their_operations(
    records: RunRecords, status: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = [started(operation=f"operation{number % 3}") for number in range(20)]
    error = ModelRefused("No.")
    for number, run in enumerate(noted):
        if number % 2:
            complete(run)
        else:
            run.execution.end(Event("failed", error), Outcome(error=error))
    for run in (*noted, complete(started(agent="content"))):
        records.note(run)
    wanted = [run.id for run in reversed(noted) if status in (None, run.status)]
    page = [record.id for record in await records.page(owner=None, agent="travel", status=status, limit=7)]
    assert page == wanted[:7]
    rest = await records.page(owner=None, agent="travel", status=status, before=page[-1], limit=100)
    assert [record.id for record in rest] == wanted[7:]
    assert await records.page(owner=None, agent="innovation", status=status) == []
    of_one = [run.id for run in reversed(noted) if run.operation == "operation1" and status in (None, run.status)]
    assert [run.id for run in await records.page(owner=None, operation="operation1", status=status)] == of_one
    monkeypatch.setattr(pages, "MAX_PARTS", 2)
    assert [run.id for run in await records.page(owner=None, agent="travel", status=status, limit=7)] == wanted[:7]


async def test_a_reader_who_is_cancelled_breaks_off_no_write(records: RunRecords) -> None:
    noted = [complete(started()) for _ in range(600)]
    for run in noted:
        records.note(run)
    reading = asyncio.create_task(records.page(owner=None))
    await asyncio.sleep(0.001)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert len(await records.page(owner=None, limit=1000)) == 600


async def test_one_row_that_the_database_refuses_does_not_hold_up_the_others(records: RunRecords) -> None:
    good, bad = complete(started()), complete(started())
    bad.execution.spent.input_tokens = 2**80  # more than any column holds
    records.note(bad)
    records.note(good)
    assert [record.id for record in await records.page(owner=None)] == [good.id]
    assert records.waiting == 0


async def test_closing_in_the_middle_of_a_write_loses_nothing(database: Database) -> None:
    records = RunRecords(database)
    noted = [complete(started()) for _ in range(1200)]
    for run in noted:
        records.note(run)
    await asyncio.sleep(0.06)  # the writer has begun
    await records.close()
    assert records.waiting == 0
    again = RunRecords(database)
    assert len(await again.page(owner=None, limit=2000)) == 1200
    await again.close()


async def test_what_waits_at_the_end_is_written(database: Database) -> None:
    records = RunRecords(database)
    run = complete(started())
    records.note(run)
    await records.close()
    again = RunRecords(database)
    assert (await again.get(run.id, owner=None)).status == "completed"
    await again.close()


async def test_processes_that_add_to_the_same_hours_do_not_wait_for_each_other_for_ever(database: Database) -> None:
    processes = [RunRecords(database) for _ in range(4)]
    operations = [f"operation{number}" for number in range(20)]
    for turn in range(10):
        for number, records in enumerate(processes):
            order = operations if (turn + number) % 2 else operations[::-1]
            for operation in order:
                records.note(complete(started(operation=operation)))
        await asyncio.gather(*(records.flush() for records in processes))
    assert not any(records.waiting for records in processes)
    for records in processes:
        await records.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
async def test_runs_that_end_while_they_are_sealed_anew_and_the_sealing_do_not_wait_for_each_other_for_ever(
    database: Database,
) -> None:
    async def waiting(count: int) -> None:
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with asyncio.timeout(10):
            while True:
                async with database.connect() as connection:
                    if await connection.scalar(query) == count:
                        return

    records, sealed = RunRecords(database), Sealer(b"k" * 32)
    first, second, third = (started() for _ in range(3))
    for run in (first, second, third):
        records.note(run)
    await records.flush()
    async with database.begin() as connection:
        await connection.execute(select(runs.c.id).where(runs.c.id == second.id).with_for_update())
        sealing = asyncio.create_task(reseal(database, sealed, [runs]))  # has the first, and wants the second
        await waiting(1)
        for run in (third, first):
            records.note(complete(run))
        ending = asyncio.create_task(records.flush())  # wants the first, and must not have the third
        await waiting(2)
    await asyncio.gather(sealing, ending)
    assert [record.status for record in await records.page(owner="user:1")] == ["completed", "running", "completed"]
    await records.close()
