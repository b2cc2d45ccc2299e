"""Workflows from their start to their end, for whoever serves them: start, look, wait, cancel, count."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from amrikyy.agents.planner import Planner
from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.db.engine import Database
from amrikyy.errors import (
    AmrikyyError,
    Conflict,
    DeadlineExceeded,
    InternalError,
    NotFound,
    RunCancelled,
    RunLost,
    Unavailable,
)
from amrikyy.sealing import PLAIN, Sealer
from amrikyy.spend import Budgets
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Context, Tracer
from amrikyy.workflows.definitions import Definitions
from amrikyy.workflows.flow import Flow
from amrikyy.workflows.plan import Call, Group, Options, Plan, check
from amrikyy.workflows.processes import BEAT_EVERY_S, Processes
from amrikyy.workflows.spans import describe_workflow, span_id_of
from amrikyy.workflows.steps import Charge, Outcome, Steps
from amrikyy.workflows.store import (
    Claim,
    Kind,
    Owner,
    Status,
    Superseded,
    WorkflowEvent,
    WorkflowRecord,
    WorkflowStore,
    new_workflow_id,
)
from amrikyy.workflows.turns import Turns

if TYPE_CHECKING:
    from amrikyy.workflows.engine import Engine

T = TypeVar("T")

log = structlog.get_logger(__name__)

POLL_S = 0.5
"""How often the record of a workflow is read that another process works on."""

RETRY_AFTER_S = 1.0
MAX_EPOCH = 20
"""Processes that may die over one workflow before it is given up: it may be what they die of."""

CANCEL_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many workflows work at a time in this process, how many of one caller, and how many wait."""

    working: int = 50
    per_caller: int = 10
    waiting: int = 1000


@dataclass(frozen=True, slots=True)
class Statistics:
    """How workflows went since the last reset. Durations are means in milliseconds, None where there is none."""

    total: int
    completed: int
    failed: int
    cancelled: int
    active: int
    mean_ms: float | None
    success_rate: float | None
    by_strategy: dict[str, dict[str, Any]]
    agents: list[dict[str, Any]]


@dataclass(slots=True, eq=False)
class _Working:
    """A workflow that this process works on, or that waits here for its turn."""

    task: asyncio.Task[Any]
    cause: AmrikyyError | None = None


class Workflows:
    """Everything that can be done with workflows. Every method may raise Unavailable.

    Args:
        database: where they are recorded.
        database_url: of the same database, for the engine.
        runner: runs their steps.
        registry: the agents.
        planner: fills in what callers leave open.
        charge: charges an owner for what the planner has chosen.
        budgets: what owners may spend.
        metrics: is told what has ended.
        tracer: traces workflows whose start is traced.
        bounds: how many there may be.
        sealer: seals what they are recorded with.
    """

    def __init__(
        self,
        database: Database,
        database_url: str,
        runner: Runner,
        registry: Registry,
        planner: Planner,
        charge: Charge,
        budgets: Budgets,
        metrics: Metrics,
        tracer: Tracer,
        bounds: Bounds,
        sealer: Sealer = PLAIN,
    ) -> None:
        self._processes = Processes(database)
        self._store = WorkflowStore(database, self._processes.id, sealer)
        self._steps = Steps(runner, registry, planner, charge, tracer)
        self._tracer = tracer
        self._registry = registry
        self._budgets = budgets
        self._metrics = metrics
        self._database_url = database_url
        self._sealer = sealer
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()
        self._here: set[str] = set()
        self._working: dict[str, _Working] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False
        self.turns = Turns(bounds.working, bounds.per_caller, bounds.waiting)
        self.definitions = Definitions(database, registry, sealer)

    # --- The process's life ---

    async def open(self) -> None:
        """Go on with the workflows of processes that have died, now and from now on."""
        await self._processes.beat()
        self._watch = asyncio.get_running_loop().create_task(self._watch_forever(), name="workflows-watch")

    @property
    def stopping(self) -> bool:
        """Whether this process begins no further step."""
        return self._stopping

    def drain(self) -> None:
        """Begin nothing more: what runs may end, and what comes after it is left to whoever takes over."""
        self._stopping = True
        for workflow_id in list(self._waiting):
            self._wake(workflow_id)

    async def close(self) -> None:
        """Leave the workflows that have not ended to other processes, or to the next start."""
        self.drain()
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        tasks = [working.task for working in self._working.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._engine is not None:
            await self._engine.close()
        with suppress(AmrikyyError):
            await self._processes.leave()

    # --- Starting ---

    async def check(self, plan: Plan, *, name: str | None = None) -> Group:
        """Make sure that a plan can be run.

        Raises:
            ValidationFailed: with the path of every wrong part.
        """
        saved = await self.definitions.all()

        def find(wanted: str) -> Any:
            found = saved.get(wanted)
            return found and found.definition

        return check(plan, self._registry, find, name=name)

    async def named(self, name: str, inputs: Mapping[str, Any], options: Options | None = None) -> Plan:
        """The plan of a named workflow with these inputs.

        Raises:
            NotFound: there is no workflow of that name.
        """
        saved = (await self.definitions.all()).get(name)
        if saved is None:
            raise NotFound(f"There is no workflow {name[:64]!r}.", code="workflow_not_found")
        plan = saved.definition.plan
        return plan.model_copy(update={"input": {**plan.input, **inputs}, "options": options or plan.options})

    async def start(
        self,
        plan: Plan,
        tree: Group,
        owner: Owner,
        *,
        workflow_id: str | None = None,
        trace: Context | None = None,
    ) -> str:
        """Begin a workflow. Once this returns it will be finished, whatever becomes of this process.

        Args:
            plan: what it is to do.
            tree: the same, checked.
            owner: whose it is.
            workflow_id: its id, if it has been given one.
            trace: what starts it, if that is traced.

        Returns:
            its id.

        Raises:
            Unavailable: too many workflows wait, the server is stopping, or a database cannot be reached.
        """
        if self._stopping:
            raise Unavailable("The server is stopping. Send the request again.", code="draining", retry_after_s=2)
        self.turns.check(len(self._here))
        workflow_id = workflow_id or new_workflow_id()
        self._here.add(workflow_id)
        try:
            await self._begin(plan, tree, owner, workflow_id, trace)
        except BaseException:
            self._here.discard(workflow_id)
            raise
        return workflow_id

    async def _begin(self, plan: Plan, tree: Group, owner: Owner, workflow_id: str, trace: Context | None) -> None:
        engine = await self._opened()

        async def begin() -> None:
            await self._store.create(workflow_id, tree, plan.input, plan.options, owner, trace)
            try:
                await engine.start(workflow_id)
            except Exception as error:
                log.exception("workflow_not_started", workflow_id=workflow_id)
                await self._store.delete([workflow_id])
                raise Unavailable("The workflow could not be started. Try again shortly.", retry_after_s=2) from error

        await _whole(begin())  # a caller who leaves must not leave a workflow that is recorded and never begins

    # --- Looking ---

    async def get(self, workflow_id: str, *, owner: str | None) -> WorkflowRecord:
        """A workflow as it is now; `owner` is whose it must be, None for anybody's.

        Raises:
            NotFound: there is none, or it is somebody else's.
        """
        return await self._store.get(workflow_id, owner=owner)

    async def results(self, workflow: WorkflowRecord) -> list[Outcome]:
        """The outcomes of its steps so far, in the order of the plan."""
        order = {call.path: place for place, call in enumerate(workflow.tree.calls())}
        return sorted(await self._store.outcomes(workflow.id), key=lambda outcome: order[outcome["step"]])

    async def events(self, workflow_id: str, *, after: int = 0, timeout_s: float = 0) -> list[WorkflowEvent]:
        """What has happened since event number `after`, waiting for something to happen if nothing has."""
        until = asyncio.get_running_loop().time() + timeout_s
        while True:
            change = self._changed(workflow_id)
            found = await self._store.events(workflow_id, after=after)
            left = until - asyncio.get_running_loop().time()
            if found or left <= 0 or self._stopping:
                self._forget(workflow_id, change)
                return found
            await self._until(workflow_id, change, min(left, POLL_S))

    async def wait(self, workflow_id: str) -> WorkflowRecord:
        """The workflow when it has ended.

        Raises:
            Unavailable: this process is stopping, and leaves it to another one.
        """
        while True:
            change = self._changed(workflow_id)
            if workflow_id not in self._working:  # else it says so itself when it has ended
                record = await self._store.get(workflow_id, owner=None)
                if record.ended or self._stopping:
                    self._forget(workflow_id, change)
                    if record.ended:
                        return record
                    raise Unavailable(
                        "This server is stopping, and another one goes on with the workflow: "
                        f"GET /api/coordinator/status/{workflow_id} tells how it is.",
                        code="draining",
                        retry_after_s=2,
                    )
            await self._until(workflow_id, change, POLL_S)

    async def ended_steps(self, workflow_id: str, *, until: int) -> int:
        """How many steps had ended when event number `until` happened."""
        return await self._store.ended_steps(workflow_id, until=until)

    async def page(
        self,
        *,
        owner: str | None,
        status: str | None = None,
        strategy: str | None = None,
        name: str | None = None,
        before: str | None = None,
        limit: int = 20,
    ) -> list[WorkflowRecord]:
        """Workflows, newest first. `before` is the id of the last one of the page before; ids sort by time."""
        return await self._store.page(
            owner=owner, status=status, strategy=strategy, name=name, before=before, limit=limit
        )

    async def statistics(self) -> Statistics:
        """How workflows went since the last reset, in all processes."""
        counts = await self._store.counts()
        strategies = [each for each in counts if each.kind == "strategy"]
        done = {end: sum(getattr(each, end) for each in strategies) for end in ("completed", "failed", "cancelled")}
        ended, active = sum(done.values()), await self._store.active()
        duration_ms = sum(each.duration_ms for each in strategies)

        def means(completed: int, failed: int, cancelled: int, duration_ms: float, cost_usd: float) -> dict[str, Any]:
            total = completed + failed + cancelled
            return {
                "total": total,
                "completed": completed,
                "failed": failed,
                "cancelled": cancelled,
                "meanMs": duration_ms / total if total else None,
                "costUsd": cost_usd,
            }

        rows = [
            (each, means(each.completed, each.failed, each.cancelled, each.duration_ms, each.cost_usd))
            for each in counts
        ]
        return Statistics(
            total=ended + active,
            **done,
            active=active,
            mean_ms=duration_ms / ended if ended else None,
            success_rate=100 * done["completed"] / ended if ended else None,
            by_strategy={each.name: row for each, row in rows if each.kind == "strategy"},
            agents=[{"agent": each.name, **row} for each, row in rows if each.kind == "agent"],
        )

    async def reset_statistics(self) -> None:
        """Begin to count anew."""
        await self._store.reset_counts()

    # --- Ending ---

    async def cancel(self, workflow_id: str, *, owner: str | None, reason: str = "The workflow was cancelled.") -> None:
        """Stop a workflow, with the model call that it is waiting for. What it has done stays recorded.

        Raises:
            NotFound: there is none, or it is somebody else's.
            Conflict: it has ended.
        """
        record = await self._store.get(workflow_id, owner=owner)
        if record.ended:
            raise Conflict(f"The workflow has ended: it is {record.status}.", code="workflow_ended")
        await self._store.request_cancel(workflow_id)
        cause = RunCancelled(reason)
        if await self._store.cancel_queued(record, cause):
            self._metrics.workflows(record.strategy, "cancelled").inc()
            self._wake(workflow_id)
        self._stop(workflow_id, cause)
        with suppress(TimeoutError):  # another process may have it, and has been asked
            async with asyncio.timeout(CANCEL_WITHIN_S):
                await self.wait(workflow_id)

    async def purge(self, older_than: timedelta, batch: int = 200) -> int:
        """Delete old workflows that have ended, a batch a transaction.

        Returns:
            how many were deleted.
        """
        deleted = 0
        while old := await self._store.old(older_than, batch):
            await (await self._opened()).delete(old)
            await self._store.delete(old)
            deleted += len(old)
        return deleted

    # --- The work, called by the engine ---

    async def _body(self, workflow_id: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._here.add(workflow_id)
        self._working[workflow_id] = working = _Working(task)
        try:
            record = await self._persist(lambda: self._store.get(workflow_id, owner=None))
            async with self.turns.take(record.owner):
                claim = await self._persist(lambda: self._store.claim(workflow_id))
                if claim is not None:
                    await self._work(claim)
        except NotFound:
            log.warning("workflow_gone", workflow_id=workflow_id)
        except Superseded:
            log.warning("workflow_superseded", workflow_id=workflow_id)
            raise asyncio.CancelledError from None
        except asyncio.CancelledError:
            if working.cause is None:
                raise  # this process stops; another one, or its successor, goes on
            claim = await self._persist(lambda: self._store.claim(workflow_id))
            if claim is not None:
                await self._finish(claim, "cancelled", None, working.cause)
        finally:
            if self._working.get(workflow_id) is working:
                del self._working[workflow_id]
                self._here.discard(workflow_id)
            self._wake(workflow_id)

    async def _work(self, claim: Claim) -> None:
        record, engine = claim.record, await self._opened()
        places = {call.path: engine.reserve(record.id) for call in record.tree.calls()}
        allowance = self._budgets.allowance(
            record.owner, record.role, ceiling_usd=record.options.max_cost_usd, spent_usd=record.cost_usd or 0.0
        )
        started_at = record.started_at
        assert started_at is not None

        async def note(kind: Kind, path: str, data: Any) -> None:
            await self._persist(lambda: self._store.append(claim, kind, path, data))
            self._wake(record.id)

        async def run_step(call: Call, given: Mapping[str, Any], produced: Mapping[str, Any]) -> Outcome:
            if self._stopping:
                raise asyncio.CancelledError
            await note("step_started", call.path, {"step": call.path, "agent": call.agent, "method": call.method})
            outcome = await places[call.path].run(lambda: self._steps.run(call, given, produced, record, allowance))
            await note("step_completed" if outcome["success"] else "step_failed", call.path, outcome)
            return outcome

        status: Status = "completed"
        result: Any = None
        error: AmrikyyError | None = None
        left_s = record.options.timeout_s - (datetime.now(UTC) - started_at).total_seconds()
        try:
            if claim.epoch > MAX_EPOCH:
                raise RunLost(f"{MAX_EPOCH} processes died while they worked on this. It was given up.")
            if record.cancel_requested:
                raise RunCancelled("The workflow was cancelled.")
            async with asyncio.timeout(max(left_s, 0)):
                await note("started", "", {})
                result = await Flow(record.options, run_step).run(record.tree, record.input)
        except TimeoutError:
            status = "failed"
            error = DeadlineExceeded(f"The workflow took longer than {record.options.timeout_s:g} s and was stopped.")
        except AmrikyyError as failed:
            status, error = ("cancelled" if isinstance(failed, RunCancelled) else "failed"), failed
        except Superseded:
            raise
        except Exception:
            log.exception("workflow_crashed", workflow_id=record.id)
            status = "failed"
            error = InternalError("The workflow failed unexpectedly. The log has the cause, under the workflow's id.")
        await self._finish(claim, status, result, error)

    async def _finish(self, claim: Claim, status: Status, result: Any, error: AmrikyyError | None) -> None:
        duration_ms = await self._persist(lambda: self._store.finish(claim, status, result, error))
        strategy = claim.record.strategy
        self._metrics.workflows(strategy, status).inc()
        self._metrics.workflow_seconds(strategy).observe(duration_ms / 1000)
        record = claim.record
        span = self._tracer.resume(record.trace, span_id=span_id_of(record.id))
        if span is not None:
            span.began_ns = span.now_ns() - int(duration_ms * 1e6)
            span.end(describe_workflow, (record, status, error))

    async def _persist(self, write: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do what needs the database, for as long as it takes: a workflow does not fail because it was away."""
        while True:
            try:
                return await _whole(write())
            except Unavailable as error:
                log.warning("workflow_waits_for_database", reason=error.message)
                await asyncio.sleep(RETRY_AFTER_S)

    async def _watch_forever(self) -> None:
        while True:
            try:
                await self._processes.beat()
                for workflow_id in await self._processes.take_over():
                    log.info("workflow_taken_over", workflow_id=workflow_id)
                    await (await self._opened()).take_over(workflow_id)
                for workflow_id in await self._store.cancel_requests():
                    self._stop(workflow_id, RunCancelled("The workflow was cancelled."))
            except AmrikyyError as error:
                log.warning("workflows_not_watched", reason=error.message)
            except Exception:
                log.exception("workflows_not_watched")
            await asyncio.sleep(BEAT_EVERY_S)

    async def _opened(self) -> "Engine":
        """The engine, which is opened when it is first needed: it costs half a second and some threads."""
        async with self._opening:
            if self._engine is None:
                from amrikyy.workflows.engine import Engine

                engine = Engine(self._database_url, self._processes.id, self._body, self._sealer)
                try:
                    await engine.open()
                except Exception as error:
                    log.exception("workflow_engine_not_opened")
                    await engine.close()
                    raise Unavailable("Workflows cannot be run at the moment. Try again shortly.") from error
                self._engine = engine
            return self._engine

    def _stop(self, workflow_id: str, cause: AmrikyyError) -> None:
        working = self._working.get(workflow_id)
        if working is not None and working.cause is None:  # a second one would break off the cleaning up
            working.cause = cause
            working.task.cancel()

    def _changed(self, workflow_id: str) -> asyncio.Future[None]:
        change = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(workflow_id, set()).add(change)
        return change

    async def _until(self, workflow_id: str, change: asyncio.Future[None], timeout_s: float) -> None:
        try:
            await asyncio.wait([change], timeout=timeout_s)
        finally:
            self._forget(workflow_id, change)

    def _forget(self, workflow_id: str, change: asyncio.Future[None]) -> None:
        change.cancel()
        waiting = self._waiting.get(workflow_id)
        if waiting is not None:
            waiting.discard(change)
            if not waiting:
                del self._waiting[workflow_id]

    def _wake(self, workflow_id: str) -> None:
        for change in self._waiting.pop(workflow_id, ()):
            if not change.done():
                change.set_result(None)


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Do it to its end even if the caller is cancelled meanwhile: a transaction broken off costs a connection."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
