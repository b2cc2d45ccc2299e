"""Writing what happens: together, in order, once, and for nobody else."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from amrikyy.db import Database
from amrikyy.errors import Unavailable
from amrikyy.sealing import PLAIN
from amrikyy.workflows import counts, journal
from amrikyy.workflows.journal import Journal
from amrikyy.workflows.plan import Call, Group, Options
from amrikyy.workflows.records import Claim, Ending, Owner, Superseded, Unrecorded, Write, note_of
from amrikyy.workflows.store import WorkflowStore

TREE = Group(path="", strategy="sequential", children=(Call(path="steps.0", agent="math", method="add"),))
OUTCOME = {"step": "steps.0", "agent": "math", "success": True, "output": 1, "durationMs": 2.0, "costUsd": 0.5}


class Store(WorkflowStore):
    """Notes what is written together, and fails as it is told."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, "process", PLAIN)
        self.batches: list[int] = []
        self.lose_answers = 0
        self.poison: str | None = None

    async def record(self, writes: Sequence[Write], *, again: bool = False) -> list[bool]:
        self.batches.append(len(writes))
        if any(write.claim.record.id == self.poison for write in writes):
            raise ValueError("a mistake of ours")
        good = await super().record(writes, again=again)
        if self.lose_answers:
            self.lose_answers -= 1
            raise Unavailable("The connection broke.")
        return good


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


async def claimed(store: Store, workflow_id: str) -> Claim:
    await store.create(workflow_id, TREE, {}, Options(), Owner("user:1", "user"))
    claim = await store.claim(workflow_id)
    assert claim is not None
    return claim


def ending() -> Ending:
    return Ending("completed", {"sum": 1}, None, {"steps.0": OUTCOME}, 5.0)


async def recorded(store: Store, workflow_id: str) -> list[tuple[int, str]]:
    return [(event.number, event.kind) for event in await store.events(workflow_id)]


WHOLE = list(enumerate(("queued", "started", "step_started", "step_completed", "completed"), 1))


async def work(transcript: Any) -> None:
    """A workflow of one step."""
    transcript.note("step_started", "steps.0", {})
    await transcript.kept()
    transcript.note("step_completed", "steps.0", OUTCOME)
    await transcript.end(ending())


async def test_what_happens_at_the_same_time_is_one_transaction(store: Store, database: Database) -> None:
    writing = Journal(store, lambda _: None)
    names = [f"wf_{number}" for number in range(3)]
    claims = [await claimed(store, name) for name in names]
    await asyncio.gather(*(work(writing.open(claim)) for claim in claims))
    assert store.batches == [3, 3]  # the beginnings, and the steps' ends with the workflows' ends
    for name in names:
        assert await recorded(store, name) == WHOLE
        record = await store.get(name, owner=None)
        assert (record.status, record.done, record.cost_usd, record.result) == ("completed", 1, 0.5, {"sum": 1})
    strategies, agents = await counts.read(database)
    assert (strategies["sequential"].completed, agents["math"].total, agents["math"].cost_usd) == (3, 3, 1.5)


async def test_who_was_superseded_records_nothing_and_holds_up_nobody(store: Store) -> None:
    writing = Journal(store, lambda _: None)
    lost, good = await claimed(store, "wf_lost"), await claimed(store, "wf_good")
    newer = await store.claim("wf_lost")
    assert newer is not None
    results = await asyncio.gather(work(writing.open(lost)), work(writing.open(good)), return_exceptions=True)
    assert isinstance(results[0], Superseded)
    assert results[1] is None
    assert await recorded(store, "wf_lost") == WHOLE[:2]
    await work(writing.open(newer))
    assert await recorded(store, "wf_lost") == WHOLE


async def test_a_mistake_in_one_workflow_is_not_the_others(store: Store) -> None:
    writing = Journal(store, lambda _: None)
    store.poison = "wf_bad"
    bad, good = await claimed(store, "wf_bad"), await claimed(store, "wf_good")
    results = await asyncio.gather(work(writing.open(bad)), work(writing.open(good)), return_exceptions=True)
    assert isinstance(results[0], Unrecorded)
    assert results[1] is None
    assert await recorded(store, "wf_good") == WHOLE


async def test_what_is_recorded_though_the_answer_was_lost_is_not_recorded_again(
    store: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "RETRY_AFTER_S", 0.01)
    writing = Journal(store, lambda _: None)
    claim = await claimed(store, "wf_1")
    store.lose_answers = 10
    transcript = writing.open(claim)
    transcript.note("step_started", "steps.0", {})
    await asyncio.sleep(0.1)
    transcript.note("step_completed", "steps.0", OUTCOME)
    await asyncio.sleep(0.1)
    await transcript.end(ending())
    assert store.lose_answers == 0
    assert await recorded(store, "wf_1") == WHOLE
    record = await store.get("wf_1", owner=None)
    assert (record.done, record.cost_usd, record.events) == (1, 0.5, 5)
    assert (await counts.read(database))[0]["sequential"].total == 1


async def test_who_goes_on_finds_what_has_begun_and_what_has_ended(store: Store) -> None:
    claim = await claimed(store, "wf_1")
    assert (claim.epoch, claim.begun, claim.outcomes) == (1, frozenset(), {})
    notes = (note_of("step_started", "steps.0", {}), note_of("step_completed", "steps.0", OUTCOME))
    assert await store.record([Write(claim, notes)]) == [True]
    again = await store.claim("wf_1")
    assert again is not None
    assert (again.epoch, again.begun, again.outcomes) == (2, frozenset({"steps.0"}), {"steps.0": OUTCOME})
    assert again.record.started_at is not None
    assert again.record.started_at <= datetime.now(UTC)
    assert await store.record([Write(claim, notes)], again=True) == [False]
