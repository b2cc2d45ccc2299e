"""What a process does with workflows that it cannot begin, its own and those of one that died."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from dbos import DBOS
from sqlalchemy import select

from amrikyy.db import Database
from amrikyy.db.tables import workflow_processes
from amrikyy.errors import NotFound, Unavailable
from amrikyy.sealing import PLAIN
from amrikyy.workflows import watch as module
from amrikyy.workflows.engine import Engine
from amrikyy.workflows.records import Owner, new_workflow_id
from amrikyy.workflows.store import WorkflowStore
from amrikyy.workflows.workflows import Workflows
from tests.workflows.conftest import Log, OpenWorkflows
from tests.workflows.test_workflows import OWNER, sequence, started, step

PLAN = sequence(step("increment"), input={"amount": 1})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_EVERY_S", 0.05)


async def left_by_the_dead(database: Database, workflows: Workflows, count: int) -> list[str]:
    store = WorkflowStore(database, "a:1:dead", PLAIN)
    tree = await workflows.check(PLAN)
    ids = [new_workflow_id() for _ in range(count)]
    for workflow_id in ids:
        await store.create(workflow_id, tree, PLAN.input, PLAN.options, Owner(OWNER, "user"))
    return ids


async def test_what_cannot_be_taken_over_at_once_is_taken_over_later_and_holds_up_nothing_else(
    database: Database, open_workflows: OpenWorkflows, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_over, refused = Engine.take_over, dict.fromkeys(range(3))

    async def hindered(engine: Engine, workflow_id: str) -> None:
        if refused:
            raise (Unavailable("The database is away."), OSError("broken"), ValueError("odd"))[refused.popitem()[0]]
        await take_over(engine, workflow_id)

    monkeypatch.setattr(Engine, "take_over", hindered)
    async with open_workflows() as workflows:
        ids = await left_by_the_dead(database, workflows, 3)
        async with asyncio.timeout(20):
            records = [await workflows.wait(workflow_id) for workflow_id in ids]
    assert [record.status for record in records] == ["completed"] * 3
    assert log.calls == ["increment"] * 3
    assert not refused


async def test_a_process_that_takes_over_much_shows_meanwhile_that_it_is_alive(
    database: Database, open_workflows: OpenWorkflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on, take_over = asyncio.Event(), asyncio.Event(), Engine.take_over

    async def slow(engine: Engine, workflow_id: str) -> None:
        begun.set()
        await goes_on.wait()
        await take_over(engine, workflow_id)

    async def beats(process: str) -> int:
        query = select(workflow_processes.c.beats).where(workflow_processes.c.id == process)
        async with database.connect() as connection:
            return int((await connection.execute(query)).scalar_one())

    monkeypatch.setattr(Engine, "take_over", slow)
    async with open_workflows() as workflows:
        (workflow_id,) = await left_by_the_dead(database, workflows, 1)
        async with asyncio.timeout(20):
            await begun.wait()
            process = workflows._processes.id
            before = await beats(process)
            while await beats(process) < before + 2:
                await asyncio.sleep(0.02)
            goes_on.set()
            assert (await workflows.wait(workflow_id)).status == "completed"


async def test_however_many_follow_what_another_process_does_the_database_is_asked_once_a_turn(
    open_workflows: OpenWorkflows, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    asked: Counter[str] = Counter()

    def count(store: WorkflowStore, name: str) -> None:
        ask = getattr(store, name)

        def counted(*args: Any, **more: Any) -> Any:
            asked[name] += 1
            return ask(*args, **more)

        monkeypatch.setattr(store, name, counted)

    async with open_workflows() as works, open_workflows() as follows:
        count(follows._store, "events")
        count(follows._store, "event_counts")
        workflow_id = await started(works, sequence(step("wait")), OWNER)
        async with asyncio.timeout(20):
            await log.waiting.wait()
            seen = (await works.events(workflow_id))[-1].number
            readers = [asyncio.create_task(follows.events(workflow_id, after=seen, timeout_s=15)) for _ in range(20)]
            while asked["event_counts"] < 10:
                await asyncio.sleep(0.01)
            assert asked["events"] <= 2 * len(readers), "at the beginning, and once more"
            await works.cancel(workflow_id, owner=OWNER)
            assert [[event.kind for event in await reader] for reader in readers] == [["cancelled"]] * len(readers)


async def test_an_engine_that_does_not_answer_is_not_waited_for_without_end(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await workflows._opened()).delete(["wf_0"])

    async def never(_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("amrikyy.workflows.engine.DO_TIMEOUT_S", 0.05)
    monkeypatch.setattr(DBOS, "delete_workflows_async", never)
    monkeypatch.setattr(DBOS, "start_workflow_async", lambda _, __: never(None))
    engine = await workflows._opened()
    with pytest.raises(TimeoutError):
        await engine.delete(["wf_0"])
    with pytest.raises(Unavailable):
        await started(workflows, PLAN)
    assert await workflows.page(owner=OWNER, before=None) == []


async def test_what_could_not_be_started_is_forgotten_even_if_that_has_to_wait_for_the_database(
    database: Database, workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[str] = []
    delete = workflows._store.delete

    async def broken(engine: Engine, workflow_id: str) -> None:
        raise OSError("broken")

    async def away(workflow_ids: list[str]) -> None:
        deleted.extend(workflow_ids)
        if len(deleted) == 1:
            raise Unavailable("The database is away.")
        await delete(workflow_ids)

    monkeypatch.setattr(Engine, "start", broken)
    monkeypatch.setattr(workflows._store, "delete", away)
    with pytest.raises(Unavailable):
        await started(workflows, PLAN)
    async with asyncio.timeout(20):
        while workflows._watch._unbegun:
            await asyncio.sleep(0.02)
    with pytest.raises(NotFound):
        await workflows.get(deleted[0], owner=None)
