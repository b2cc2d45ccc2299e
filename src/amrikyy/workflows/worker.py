"""Works on the workflows of this process: each from its claim to its recorded end."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog

from amrikyy.errors import (
    AmrikyyError,
    BodyTooLarge,
    DeadlineExceeded,
    InternalError,
    NotFound,
    RunCancelled,
    RunLost,
    Unavailable,
)
from amrikyy.spend import Budgets
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Tracer
from amrikyy.workflows.flow import Flow
from amrikyy.workflows.journal import RETRY_AFTER_S, Journal, Transcript
from amrikyy.workflows.plan import MAX_BYTES, Call
from amrikyy.workflows.records import Claim, End, Ending, Outcome, Superseded, Unrecorded
from amrikyy.workflows.spans import describe_workflow, span_id_of
from amrikyy.workflows.steps import Steps
from amrikyy.workflows.store import WorkflowStore
from amrikyy.workflows.turns import Turns

T = TypeVar("T")

log = structlog.get_logger(__name__)

MAX_EPOCH = 20
"""How many processes may die while they work on a workflow before it is given up: it may be what kills them."""


@dataclass(slots=True, eq=False)
class _Working:
    """A workflow that this process works on, or that waits here for its turn."""

    task: asyncio.Task[Any]
    cause: AmrikyyError | None = None
    is_ending: bool = False


class Worker:
    """Does the work, and stops it.

    Args:
        store: where workflows are claimed.
        steps: runs their steps.
        budgets: what owners may spend.
        metrics: is told what has ended.
        tracer: traces workflows whose start is traced.
        turns: how many may work at a time.
        wake: told the id of a workflow when something has happened in it.

    Attributes:
        stopping: this process begins no further step.
    """

    def __init__(
        self,
        store: WorkflowStore,
        steps: Steps,
        budgets: Budgets,
        metrics: Metrics,
        tracer: Tracer,
        turns: Turns,
        wake: Callable[[str], None],
    ) -> None:
        self._store = store
        self._steps = steps
        self._budgets = budgets
        self._metrics = metrics
        self._tracer = tracer
        self._turns = turns
        self._wake = wake
        self._journal = Journal(store, wake)
        self._working: dict[str, _Working] = {}
        self._expected: set[str] = set()
        self.stopping = False

    def __contains__(self, workflow_id: str) -> bool:
        return workflow_id in self._working

    @property
    def count(self) -> int:
        """How many workflows are here: at work, waiting for their turn, or about to come."""
        return len(self._expected)

    def expect(self, workflow_id: str) -> None:
        """A workflow is about to come: from now on it counts."""
        self._expected.add(workflow_id)

    def forget(self, workflow_id: str) -> None:
        """It does not come after all, or has been worked on."""
        self._expected.discard(workflow_id)

    async def work(self, workflow_id: str) -> None:
        """Work on a workflow until it has ended and this is recorded.

        Raises:
            CancelledError: this process stops, or the workflow has become another one's.
        """
        task = asyncio.current_task()
        assert task is not None
        self._working[workflow_id] = working = _Working(task)
        self.expect(workflow_id)
        try:
            await self._work(workflow_id, working)
        except NotFound:
            log.warning("workflow_gone", workflow_id=workflow_id)
        except Superseded:
            log.warning("workflow_superseded", workflow_id=workflow_id)
            raise asyncio.CancelledError from None
        finally:
            if self._working.get(workflow_id) is working:
                del self._working[workflow_id]
                self.forget(workflow_id)
            self._wake(workflow_id)

    def stop(self, workflow_id: str, cause: AmrikyyError) -> None:
        """Cancel a workflow, with the model calls that it waits for."""
        working = self._working.get(workflow_id)
        if working is not None and working.cause is None and not working.is_ending:  # it ends only once
            working.cause = cause
            working.task.cancel()

    async def close(self) -> None:
        """Break off what is being worked on. It is left to other processes, or to the next start."""
        self.stopping = True
        tasks = [working.task for working in self._working.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._journal.close()

    async def _work(self, workflow_id: str, working: _Working) -> None:
        claim = None
        try:
            record = await until_available(lambda: self._store.get(workflow_id, owner=None))
            async with self._turns.take(record.owner):
                claim = await until_available(lambda: self._store.claim(workflow_id))
                if claim is not None:
                    self._wake(workflow_id)
                    await self._go_on(claim, working)
        except asyncio.CancelledError:
            if claim is not None or working.cause is None:
                raise  # this process stops; another one, or its successor, goes on
            working.is_ending = True
            await self._end_anew(workflow_id, "cancelled", working.cause)

    async def _go_on(self, claim: Claim, working: _Working) -> None:
        transcript = self._journal.open(claim)
        outcomes = dict(claim.outcomes)
        try:
            status, result, error = await self._result(claim, transcript, outcomes)
        except asyncio.CancelledError:
            if working.cause is None:
                raise
            status, result, error = "cancelled", None, working.cause
        working.is_ending = True
        ending = Ending(status, result, error, outcomes, _duration_ms(claim))
        try:
            await transcript.end(ending)
        except Unrecorded:
            await self._end_anew(claim.record.id, "failed", _unexpected())
        else:
            self._count(claim, ending)

    async def _result(
        self, claim: Claim, transcript: Transcript, outcomes: dict[str, Outcome]
    ) -> tuple[End, Any, AmrikyyError | None]:
        record = claim.record
        allowance = self._budgets.allowance(
            record.owner, record.role, ceiling_usd=record.options.max_cost_usd, spent_usd=record.cost_usd or 0.0
        )

        async def run_step(call: Call, given: Mapping[str, Any], produced: Mapping[str, Any]) -> Outcome:
            if call.path in outcomes:
                return outcomes[call.path]
            if self.stopping:
                raise asyncio.CancelledError
            if call.path not in claim.begun:
                about = {"step": call.path, "agent": call.agent, "method": call.method}
                transcript.note("step_started", call.path, about)
            await transcript.kept()  # what came before is recorded, and the workflow still this process's
            outcome = await self._steps.run(call, given, produced, record, allowance)
            transcript.note("step_completed" if outcome["success"] else "step_failed", call.path, outcome)
            outcomes[call.path] = outcome
            return outcome

        assert record.started_at is not None
        left_s = record.options.timeout_s - (datetime.now(UTC) - record.started_at).total_seconds()
        try:
            if claim.epoch > MAX_EPOCH:
                raise RunLost(f"{MAX_EPOCH} processes died while working on this workflow, so it was given up.")
            if record.cancel_requested:
                raise RunCancelled("The workflow was cancelled.")
            async with asyncio.timeout(max(left_s, 0)):
                result = await Flow(record.options, run_step).run(record.tree, record.input)
                if (size := len(json.dumps(result))) > MAX_BYTES:
                    raise BodyTooLarge(
                        f"The result has {size} bytes, and a workflow's may have {MAX_BYTES}. The results of its steps "
                        "are kept; let a transform or an aggregator choose from them."
                    )
                return "completed", result, None
        except TimeoutError:
            message = f"The workflow took longer than {record.options.timeout_s:g} s and was stopped."
            return "failed", None, DeadlineExceeded(message)
        except RunCancelled as cancelled:
            return "cancelled", None, cancelled
        except AmrikyyError as failed:
            return "failed", None, failed
        except Superseded:
            raise
        except Exception:
            log.exception("workflow_crashed", workflow_id=record.id)
            return "failed", None, _unexpected()

    async def _end_anew(self, workflow_id: str, status: End, error: AmrikyyError) -> None:
        """Record an end under a claim of its own, whatever became of the one before."""
        claim = await until_available(lambda: self._store.claim(workflow_id))
        if claim is not None:
            ending = Ending(status, None, error, claim.outcomes, _duration_ms(claim))
            await self._journal.open(claim).end(ending)
            self._count(claim, ending)

    def _count(self, claim: Claim, ending: Ending) -> None:
        record = claim.record
        self._metrics.workflows.inc(record.strategy, ending.status)
        self._metrics.workflow_seconds.observe(ending.duration_ms / 1000, record.strategy)
        span = self._tracer.resume(record.trace, span_id=span_id_of(record.id))
        if span is not None:
            span.began_ns = span.now_ns() - int(ending.duration_ms * 1e6)
            span.end(describe_workflow, (record, ending.status, ending.error))


async def until_available(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do what needs the database, for as long as it takes: a workflow does not fail because it was away."""
    waits = False
    while True:
        try:
            return await whole(work())
        except Unavailable as error:
            if not waits:
                log.warning("workflow_waits_for_database", reason=error.message)
            waits = True
            await asyncio.sleep(RETRY_AFTER_S)


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Do it to its end even if the caller is cancelled meanwhile: a transaction broken off costs a connection."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise


def _duration_ms(claim: Claim) -> float:
    assert claim.record.started_at is not None
    return (datetime.now(UTC) - claim.record.started_at).total_seconds() * 1000


def _unexpected() -> InternalError:
    return InternalError("The workflow failed unexpectedly. The log has the cause, under the workflow's id.")
