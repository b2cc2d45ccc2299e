"""What workflows do, on SQLite and on PostgreSQL."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.auth.audit import Actor
from amrikyy.db import Database, open_database
from amrikyy.db.engine import POOL_OVERFLOW, POOL_SIZE
from amrikyy.errors import Conflict, NotFound, Unavailable, ValidationFailed
from amrikyy.workflows.definitions import KEPT_VERSIONS
from amrikyy.workflows.plan import Definition, Hierarchical, Options, Parallel, Plan, Sequential
from amrikyy.workflows.records import Owner, WorkflowRecord, Write
from amrikyy.workflows.store import WorkflowStore
from amrikyy.workflows.workflows import Bounds, Workflows
from tests.workflows.conftest import Log, OpenWorkflows, workflows_on

OWNER = "user:1"


def step(method: str, agent: str = "math", **more: Any) -> dict[str, Any]:
    return {"agent": agent, "method": method, **more}


def sequence(*steps: dict[str, Any], **more: Any) -> Sequential:
    return Sequential.model_validate({"steps": steps, **more})


def side_by_side(*tasks: dict[str, Any], **more: Any) -> Parallel:
    return Parallel.model_validate({"tasks": tasks, **more})


async def started(workflows: Workflows, plan: Plan, owner: str = OWNER, *, name: str | None = None) -> str:
    return await workflows.start(plan, await workflows.check(plan, name=name), Owner(owner, "user"))


async def finished(workflows: Workflows, plan: Plan) -> WorkflowRecord:
    async with asyncio.timeout(20):
        return await workflows.wait(await started(workflows, plan))


async def test_a_step_goes_on_with_what_the_one_before_put_out(workflows: Workflows) -> None:
    plan = sequence(step("increment"), step("double"), input={"amount": 3})
    record = await finished(workflows, plan)
    assert (record.status, record.result["amount"], record.done, record.total) == ("completed", 8, 2, 2)
    first, second = await workflows.results(record)
    assert (first["step"], first["input"], first["success"]) == ("steps.0", {"amount": 3, "label": ""}, True)
    assert second["input"]["amount"] == 4
    kinds = [event.kind for event in await workflows.events(record.id)]
    step_kinds = ["step_started", "step_completed"]
    assert kinds == ["queued", "started", *step_kinds, *step_kinds, "completed"]


async def test_params_come_before_the_input_and_transform_shapes_the_output(workflows: Workflows) -> None:
    plan = sequence(
        step("increment", params={"label": "own"}, transform="{amount: sum(parts), label: 'made'}"),
        step("shout", "words", select="{label: join('-', [label, 'so'])}"),
        input={"amount": 6, "label": "given"},
    )
    record = await finished(workflows, plan)
    first, second = await workflows.results(record)
    assert first["input"]["label"] == "own"
    assert first["output"] == {"amount": 7, "label": "made"}
    assert second["output"]["label"] == "MADE-SO"


async def test_a_failing_task_does_not_lose_the_results_of_the_others(workflows: Workflows) -> None:
    plan = side_by_side(step("increment"), step("refuse"), step("double"), input={"amount": 2})
    record = await finished(workflows, plan)
    assert record.status == "completed"
    assert {name: output["amount"] for name, output in record.result.items()} == {"increment": 3, "double": 4}
    failed = (await workflows.results(record))[1]
    assert (failed["success"], failed["error"]["code"]) == (False, "not_found")


async def test_when_all_tasks_fail_the_error_says_which_and_what_each_lacks(workflows: Workflows) -> None:
    record = await finished(workflows, side_by_side(step("refuse"), step("increment"), step("double")))
    assert (record.status, record.error["code"]) == ("failed", "not_found")
    assert record.error["message"] == "tasks.0 failed: There is no such thing. So did tasks.1, tasks.2."
    assert [detail["field"] for detail in record.error["details"]] == ["tasks.1.amount", "tasks.2.amount"]


async def test_a_sequence_stops_at_a_failed_step_unless_told_otherwise(workflows: Workflows, log: Log) -> None:
    steps = (step("refuse"), step("increment"))
    record = await finished(workflows, sequence(*steps, input={"amount": 1}))
    assert (record.status, record.error["code"], record.error["status"]) == ("failed", "not_found", 404)
    assert record.error["message"].startswith("steps.0 failed: ")
    assert log.calls == ["refuse"]
    goes_on = sequence(*steps, input={"amount": 1}, options={"onError": "continue"})
    assert (await finished(workflows, goes_on)).result["amount"] == 2


async def test_what_may_succeed_later_is_tried_again(workflows: Workflows, log: Log) -> None:
    log.failures = 1
    record = await finished(workflows, sequence(step("stumble"), options={"retries": 1}))
    assert (record.status, log.calls) == ("completed", ["stumble"] * 2)
    log.failures = 1
    assert (await finished(workflows, sequence(step("stumble")))).error["code"] == "model_overloaded"


async def test_a_step_may_be_tried_more_often_than_the_others_or_never(workflows: Workflows, log: Log) -> None:
    log.failures = 2
    record = await finished(workflows, sequence(step("stumble", retries=2)))
    assert (record.status, (await workflows.results(record))[0]["attempts"]) == ("completed", 3)
    log.failures = 1
    record = await finished(workflows, sequence(step("stumble", retries=0), options={"retries": 3}))
    assert (record.status, (await workflows.results(record))[0]["attempts"]) == ("failed", 1)


async def test_a_limit_that_refuses_what_the_planner_chose_fails_that_task_alone(
    workflows: Workflows, log: Log
) -> None:
    log.refused = "words.shout"
    body = {
        "master": {"name": "math", "method": "increment"},
        "subAgents": ["words", {"name": "math", "method": "double"}],
    }
    record = await finished(workflows, Hierarchical.model_validate(body | {"input": {"amount": 1}}))
    assert record.status == "completed"
    _, refused, good = await workflows.results(record)
    assert (refused["success"], refused["error"]["status"], good["success"]) == (False, 429, True)
    assert "shout" not in log.calls


async def test_no_output_and_no_result_is_larger_than_a_megabyte(workflows: Workflows) -> None:
    record = await finished(workflows, sequence(step("fill", params={"amount": 1_000_001})))
    assert (record.status, record.error["status"]) == ("failed", 413)
    assert record.error["message"].startswith("steps.0 failed: The output has 1000")
    halves = side_by_side(*[step("fill", params={"amount": 600_000})] * 2)
    record = await finished(workflows, halves)
    assert (record.status, record.error["status"], record.done) == ("failed", 413, 2)
    assert all(outcome["success"] for outcome in await workflows.results(record))


async def test_what_is_missing_is_said_with_the_step_that_misses_it(workflows: Workflows) -> None:
    record = await finished(
        workflows, sequence(step("increment", params={"amount": 1}), step("shout", "words"), input={})
    )
    assert record.status == "completed"
    record = await finished(workflows, sequence(step("increment"), input={}))
    assert [each["field"] for each in record.error["details"]] == ["steps.0.amount"]


async def test_the_master_goes_first_and_the_aggregator_joins(workflows: Workflows, log: Log) -> None:
    plan = Hierarchical.model_validate(
        {
            "master": {"name": "math", "method": "increment"},
            "subAgents": [{"name": "math", "method": "double"}, "words"],
            "input": {"amount": 5},
            "aggregator": "function(results) { return combine(results); }",
        }
    )
    record = await finished(workflows, plan)
    assert record.status == "completed", record.error
    assert log.calls[0] == "increment"
    assert log.charged == [(OWNER, "words.shout")]  # only what was not named before
    assert record.result["double"]["amount"] == 12
    assert set(record.result) == {"double", "shout"}


async def test_cancelling_stops_the_step_at_once(workflows: Workflows, log: Log) -> None:
    workflow_id = await started(workflows, sequence(step("increment"), step("wait"), input={"amount": 1}), OWNER)
    async with asyncio.timeout(5):
        await log.waiting.wait()
    async with asyncio.timeout(2):
        await workflows.cancel(workflow_id, owner=OWNER)
    record = await workflows.get(workflow_id, owner=OWNER)
    assert (record.status, record.error["code"], record.done) == ("cancelled", "run_cancelled", 1)
    async with asyncio.timeout(1):
        while not log.broken_off:
            await asyncio.sleep(0.01)
    assert (await workflows.events(workflow_id))[-1].kind == "cancelled"
    with pytest.raises(Conflict):
        await workflows.cancel(workflow_id, owner=OWNER)


async def test_a_workflow_that_ends_while_it_is_being_cancelled_has_ended(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_ending, may_end = asyncio.Event(), asyncio.Event()
    usual_record, usual_request = WorkflowStore.record, WorkflowStore.request_cancel

    async def record(store: WorkflowStore, writes: Sequence[Write], *, again: bool = False) -> list[bool]:
        if any(write.ending is not None for write in writes):
            is_ending.set()
            await may_end.wait()
        return await usual_record(store, writes, again=again)

    async def request_cancel(store: WorkflowStore, workflow_id: str) -> None:
        may_end.set()  # between the look that finds it running, and stopping it
        await usual_request(store, workflow_id)

    monkeypatch.setattr(WorkflowStore, "record", record)
    monkeypatch.setattr(WorkflowStore, "request_cancel", request_cancel)
    workflow_id = await started(workflows, sequence(step("increment"), input={"amount": 1}))
    async with asyncio.timeout(10):
        await is_ending.wait()
    with pytest.raises(Conflict, match="it is completed") as refused:
        await workflows.cancel(workflow_id, owner=OWNER)
    assert refused.value.code == "workflow_ended"


async def test_a_workflow_takes_no_longer_than_it_may(workflows: Workflows, log: Log) -> None:
    record = await finished(workflows, sequence(step("wait"), options={"timeoutS": 0.3}))
    assert (record.status, record.error["code"]) == ("failed", "deadline_exceeded")
    assert log.broken_off == 1


async def test_a_full_line_refuses_and_one_caller_does_not_hold_up_another(
    open_workflows: OpenWorkflows, log: Log
) -> None:
    waits = sequence(step("wait"))
    async with open_workflows(Bounds(working=2, per_caller=1, waiting=1)) as workflows, asyncio.timeout(10):
        first = await started(workflows, waits, "user:1")
        await log.waiting.wait()
        queued = await started(workflows, waits, "user:1")
        while not workflows.turns.waiting:
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await started(workflows, waits, "user:1")
        assert (await workflows.get(queued, owner=None)).status == "queued"
        await workflows.cancel(queued, owner="user:1")
        assert (await workflows.get(queued, owner=None)).status == "cancelled"
        assert log.calls == ["wait"]
        elsewhere = await started(workflows, sequence(step("increment"), input={"amount": 1}), "user:2")
        assert (await workflows.wait(elsewhere)).status == "completed"
        await workflows.cancel(first, owner="user:1")


async def test_one_caller_leaves_half_of_the_line_to_the_others(open_workflows: OpenWorkflows, log: Log) -> None:
    waits = sequence(step("wait"))
    async with open_workflows(Bounds(working=1, per_caller=1, waiting=4)) as workflows, asyncio.timeout(20):
        mine = [await started(workflows, waits, "user:1") for _ in range(3)]
        await log.waiting.wait()
        while workflows.turns.waiting < 2:
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match="of your workflows are already here"):
            await started(workflows, waits, "user:1")
        theirs = await started(workflows, sequence(step("increment"), input={"amount": 1}), "user:2")
        for workflow_id in mine:
            await workflows.cancel(workflow_id, owner="user:1")
        assert (await workflows.wait(theirs)).status == "completed"


async def test_what_a_stopped_server_leaves_the_next_one_finishes(open_workflows: OpenWorkflows, log: Log) -> None:
    plan = sequence(step("increment"), step("wait"), input={"amount": 1})
    async with open_workflows() as workflows, asyncio.timeout(10):
        workflow_id = await started(workflows, plan, OWNER)
        await log.waiting.wait()
    log.waiting.clear()
    async with open_workflows() as workflows, asyncio.timeout(20):
        await log.waiting.wait()
        assert log.calls == ["increment", "wait", "wait"]
        kinds = [event.kind for event in await workflows.events(workflow_id)]
        assert kinds == ["queued", "started", "step_started", "step_completed", "step_started"]
        await workflows.cancel(workflow_id, owner=OWNER)


async def test_workflows_go_on_though_what_the_engine_keeps_is_lost(
    open_workflows: OpenWorkflows, log: Log, database: Database, database_url: str
) -> None:
    plan = sequence(step("increment"), step("wait"), input={"amount": 1})
    async with open_workflows() as workflows, asyncio.timeout(10):
        workflow_id = await started(workflows, plan, OWNER)
        await log.waiting.wait()
    log.waiting.clear()
    if database.dialect == "sqlite":
        kept = Path(database_url.removeprefix("sqlite:///"))
        for path in kept.parent.glob(f"{kept.stem}-workflows.db*"):
            path.unlink()
    else:
        async with database.begin() as connection:
            await connection.execute(text("DROP SCHEMA workflows CASCADE"))
    async with open_workflows() as workflows, asyncio.timeout(20):
        await log.waiting.wait()
        assert log.calls == ["increment", "wait", "wait"]
        await workflows.cancel(workflow_id, owner=OWNER)
        assert (await workflows.get(workflow_id, owner=None)).done == 1


async def test_a_workflow_is_its_owners(workflows: Workflows) -> None:
    record = await finished(workflows, sequence(step("increment"), input={"amount": 1}))
    with pytest.raises(NotFound):
        await workflows.get(record.id, owner="user:2")
    with pytest.raises(NotFound):
        await workflows.cancel(record.id, owner="user:2")
    assert await workflows.page(owner="user:2") == []
    assert [each.id for each in await workflows.page(owner=OWNER, status="completed")] == [record.id]


async def test_pages_go_back_in_time(workflows: Workflows) -> None:
    plan = sequence(step("increment"), input={"amount": 1})
    ids = [(await finished(workflows, plan)).id for _ in range(3)]
    newest = await workflows.page(owner=OWNER, limit=2)
    assert [each.id for each in newest] == [ids[2], ids[1]]
    assert [each.id for each in await workflows.page(owner=OWNER, before=newest[-1].id)] == [ids[0]]


async def test_statistics_survive_a_restart_and_can_be_reset(open_workflows: OpenWorkflows, log: Log) -> None:
    async with open_workflows() as workflows:
        await finished(workflows, sequence(step("increment"), input={"amount": 1}))
        await finished(workflows, side_by_side(step("refuse")))
    async with open_workflows() as workflows:
        statistics = await workflows.statistics()
        ended = statistics.all
        assert (ended.total, ended.completed, ended.failed, statistics.active) == (2, 1, 1, 0)
        assert statistics.strategies["sequential"].completed == 1
        assert {name: (tally.total, tally.failed) for name, tally in statistics.agents.items()} == {"math": (2, 1)}
        await workflows.reset_statistics()
        assert (await workflows.statistics()).all.total == 0


async def test_old_workflows_are_deleted_in_batches(workflows: Workflows) -> None:
    from datetime import timedelta

    plan = sequence(step("increment"), input={"amount": 1})
    records = [await finished(workflows, plan) for _ in range(3)]
    assert await workflows.purge(timedelta(days=1)) == 0
    assert await workflows.purge(timedelta(0), batch=2) == 3
    with pytest.raises(NotFound):
        await workflows.get(records[0].id, owner=None)
    assert await workflows.events(records[0].id) == []


async def test_events_can_be_waited_for_and_resumed(workflows: Workflows, log: Log) -> None:
    workflow_id = await started(workflows, sequence(step("wait")), OWNER)
    async with asyncio.timeout(10):
        await log.waiting.wait()
        seen = await workflows.events(workflow_id)
        assert [event.number for event in seen] == list(range(1, len(seen) + 1))
        waiting = asyncio.create_task(workflows.events(workflow_id, after=seen[-1].number, timeout_s=5))
        await asyncio.sleep(0.05)
        await workflows.cancel(workflow_id, owner=OWNER)
        assert [event.kind for event in await waiting] == ["cancelled"]


async def test_named_workflows_are_saved_in_versions_and_contain_each_other(workflows: Workflows) -> None:
    inner = Definition(name="inner", description="Adds.", plan=sequence(step("increment"), step("double")))
    saved = await workflows.definitions.save(inner, Actor("user:admin"))
    outer = Definition(name="outer", description="Adds more.", plan=sequence({"workflow": "inner"}, step("increment")))
    await workflows.definitions.save(outer, Actor("user:admin"))
    plan = await workflows.named("outer", {"amount": 1})
    record = await workflows.wait(await started(workflows, plan, OWNER, name="outer"))
    assert (record.name, record.result["amount"]) == ("outer", 5)
    assert [each["step"] for each in await workflows.results(record)] == [
        "steps.0.steps.0",
        "steps.0.steps.1",
        "steps.1",
    ]
    assert saved.version == 1
    assert (await workflows.definitions.save(inner, Actor("user:admin"))).version == 2
    cyclic = inner.model_copy(update={"plan": sequence({"workflow": "outer"})})
    with pytest.raises(ValidationFailed) as refused:
        await workflows.definitions.save(cyclic, Actor("user:admin"))
    assert refused.value.details[0]["type"] == "cycle"
    with pytest.raises(Conflict):
        await workflows.definitions.delete("inner", Actor("user:admin"))
    await workflows.definitions.delete("outer", Actor("user:admin"))
    await workflows.definitions.delete("inner", Actor("user:admin"))
    assert "inner" not in await workflows.definitions.all()
    assert (await workflows.definitions.save(inner, Actor("user:admin"))).version == 4


async def test_a_plan_that_contains_no_named_workflow_is_checked_without_a_look_at_them(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise AssertionError("they were looked at")

    monkeypatch.setattr(workflows.definitions, "all", fail)
    for plan in (
        sequence(step("double")),
        side_by_side(step("double")),
        Hierarchical(master="math", sub_agents=["words"]),
    ):
        await workflows.check(plan)
    with pytest.raises(AssertionError):
        await workflows.check(sequence({"workflow": "inner"}))


async def test_a_named_workflow_is_begun_without_a_look_at_the_others(
    workflows: Workflows, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Definition(name="alone", description="Adds.", plan=sequence(step("increment")))
    await workflows.definitions.save(alone, Actor("user:admin"))

    async def fail() -> None:
        raise AssertionError("they were looked at")

    monkeypatch.setattr(workflows.definitions, "all", fail)
    record = await workflows.wait(await started(workflows, await workflows.named("alone", {"amount": 1}), OWNER))
    assert record.result["amount"] == 2
    with pytest.raises(NotFound):
        await workflows.named("nobody", {})


async def test_a_request_that_is_broken_off_while_the_engine_is_opened_spoils_nothing(workflows: Workflows) -> None:
    first = asyncio.create_task(started(workflows, sequence(step("increment"), input={"amount": 1})))
    while not any(thread.name == "workflows" for thread in threading.enumerate()):
        await asyncio.sleep(0.001)
    first.cancel()
    await asyncio.wait([first])
    async with asyncio.timeout(20):
        record = await workflows.wait(await started(workflows, sequence(step("increment"), input={"amount": 1})))
    assert record.result["amount"] == 2


async def test_more_workflows_can_be_saved_at_once_than_there_are_connections(workflows: Workflows) -> None:
    plan = sequence(step("increment"))
    made = [
        Definition(name=f"workflow-{number}", description="Adds.", plan=plan)
        for number in range(POOL_SIZE + POOL_OVERFLOW + 2)
    ]
    await asyncio.gather(*(workflows.definitions.save(each, Actor("user:admin")) for each in made))
    assert {each.name for each in made} <= (await workflows.definitions.all()).keys()


async def test_only_the_last_versions_are_kept_and_none_of_what_is_long_out_of_use(
    workflows: Workflows, database: Database
) -> None:
    async def kept() -> list[tuple[str, int]]:
        async with database.connect() as connection:
            query = text("SELECT name, version FROM workflow_definitions ORDER BY name, version")
            return [(row.name, row.version) for row in await connection.execute(query)]

    definitions, admin = workflows.definitions, Actor("user:admin")
    for name, times in (("much", KEPT_VERSIONS + 2), ("once", 1)):
        for _ in range(times):
            await definitions.save(Definition(name=name, description="Adds.", plan=sequence(step("increment"))), admin)
    last = KEPT_VERSIONS + 2
    assert await kept() == [*(("much", version) for version in range(3, last + 1)), ("once", 1)]
    await definitions.delete("much", admin)
    assert await definitions.purge(timedelta(days=1)) == 0
    assert await definitions.purge(timedelta()) == KEPT_VERSIONS + 1
    assert await kept() == [("once", 1)]


async def test_options_of_a_named_workflow_can_be_overridden(workflows: Workflows) -> None:
    inner = Definition(name="inner", description="Adds.", plan=sequence(step("increment"), input={"amount": 3}))
    await workflows.definitions.save(inner, Actor("user:admin"))
    plan = await workflows.named("inner", {}, Options(retries=2))
    assert (plan.input, plan.options.retries) == ({"amount": 3}, 2)


async def test_a_workflow_that_no_database_can_take_is_refused_for_that(runner: Runner, registry: Registry) -> None:
    away = "postgresql://nobody@127.0.0.1:9/nothing"
    database = open_database(away)
    workflows = workflows_on(database, away, runner, registry)
    with pytest.raises(Unavailable) as refused:
        await started(workflows, sequence(step("increment"), input={"amount": 1}))
    assert refused.value.code == "database_unavailable"
    await workflows.close()
    await database.close()
