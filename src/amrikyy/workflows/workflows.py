"""Workflows from their start to their end, for whoever serves them: start, look, wait, cancel, count."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

import structlog
from sqlalchemy.pool import QueuePool

from amrikyy.agents.planner import Planner
from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.db.engine import Database
from amrikyy.errors import AmrikyyError, Conflict, RunCancelled, Unavailable
from amrikyy.sealing import PLAIN, Sealer
from amrikyy.spend import Budgets
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Context, Tracer
from amrikyy.workflows import counts
from amrikyy.workflows.changes import Changes, wait_for
from amrikyy.workflows.counts import Statistics
from amrikyy.workflows.definitions import Definitions
from amrikyy.workflows.engine_file import EngineFile
from amrikyy.workflows.plan import Group, Options, Plan, Strategy, check, contains_others
from amrikyy.workflows.processes import Processes
from amrikyy.workflows.records import (
    End,
    Outcome,
    Owner,
    WorkflowEvent,
    WorkflowRecord,
    WorkflowSummary,
    new_workflow_id,
)
from amrikyy.workflows.steps import Charge, Steps
from amrikyy.workflows.store import WorkflowStore
from amrikyy.workflows.turns import Turns
from amrikyy.workflows.watch import Watch
from amrikyy.workflows.worker import Worker, whole

if TYPE_CHECKING:
    from amrikyy.workflows.engine import Engine

log = structlog.get_logger(__name__)

CANCEL_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many workflows work at a time in this process, how many of one caller, and how many wait."""

    working: int = 50
    per_caller: int = 10
    waiting: int = 1000


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
        self._database = database
        self._database_url = database_url
        self._registry = registry
        self._metrics = metrics
        for strategy in get_args(Strategy):  # so that the first to fail are an increase
            for end in get_args(End):
                metrics.workflows.inc(strategy, end, by=0)
        self._processes = Processes(database)
        self._store = WorkflowStore(database, self._processes.id, sealer)
        self._changes = Changes()
        self.turns = Turns(bounds.working, bounds.per_caller, bounds.waiting)
        self.definitions = Definitions(database, registry, sealer)
        steps = Steps(runner, registry, planner, charge, tracer)
        self._worker = Worker(self._store, steps, budgets, metrics, tracer, self.turns, self._changes.wake)
        self._engine_file = EngineFile(database_url)
        self._engine: Engine | None = None
        self._opening = asyncio.Lock()
        self._watch = Watch(self._processes, self._store, self._worker, self._changes, self._opened)

    # --- The process's life ---

    async def open(self) -> None:
        """Go on with the workflows of processes that have died, now and from now on."""
        await self._processes.beat()
        self._watch.start()

    @property
    def stopping(self) -> bool:
        """Whether this process begins no further step."""
        return self._worker.stopping

    @property
    def pool(self) -> QueuePool | None:
        """The engine's connections, for metrics; None as long as no workflow has needed it."""
        return self._engine.pool if self._engine is not None else None

    def drain(self) -> None:
        """Begin nothing more: what runs may end, and what comes after it is left to whoever takes over."""
        self._worker.stopping = True
        self._changes.wake_all()

    async def close(self) -> None:
        """Leave the workflows that have not ended to other processes, or to the next start."""
        self.drain()
        await self._watch.close()
        await self._worker.close()
        if self._engine is not None:
            await self._engine.close()
        with suppress(AmrikyyError):
            await self._processes.leave()

    async def damage(self) -> str | None:
        """What keeps workflows from being run until somebody mends it, in a sentence; None if nothing is known to."""
        return await self._engine_file.damage()

    # --- Starting ---

    async def check(self, plan: Plan, *, name: str | None = None) -> Group:
        """Make sure that a plan can be run.

        Raises:
            ValidationFailed: with the path of every wrong part.
        """
        saved = await self.definitions.all() if contains_others(plan) else {}

        def find(wanted: str) -> Any:
            found = saved.get(wanted)
            return found and found.definition

        return check(plan, self._registry, find, name=name)

    async def named(self, name: str, inputs: Mapping[str, Any], options: Options | None = None) -> Plan:
        """The plan of a named workflow with these inputs.

        Raises:
            NotFound: there is no workflow of that name.
        """
        plan = (await self.definitions.get(name)).definition.plan
        return plan.model_copy(update={"input": {**plan.input, **inputs}, "options": options or plan.options})

    def check_room(self, owner: str) -> None:
        """Make sure that there is room for one more workflow of an owner.

        Raises:
            Unavailable: too many wait.
        """
        self.turns.check(self._worker.count, owner)

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
        if self.stopping:
            raise Unavailable("The server is stopping. Send the request again.", code="draining", retry_after_s=2)
        self.check_room(owner.id)
        workflow_id = workflow_id or new_workflow_id()
        self._worker.expect(workflow_id)
        try:
            await self._begin(plan, tree, owner, workflow_id, trace)
        except BaseException:
            if workflow_id not in self._worker:
                self._worker.forget(workflow_id)
            raise
        return workflow_id

    async def _begin(self, plan: Plan, tree: Group, owner: Owner, workflow_id: str, trace: Context | None) -> None:
        engine = await self._opened()

        async def begin() -> None:
            await self._store.create(workflow_id, tree, plan.input, plan.options, owner, trace)
            try:
                await engine.start(workflow_id)
            except Unavailable:  # the engine has said why
                await self._watch.forget(workflow_id)
                raise
            except Exception as error:
                log.exception("workflow_not_started", workflow_id=workflow_id)
                await self._watch.forget(workflow_id)
                raise Unavailable("The workflow could not be started. Try again shortly.", retry_after_s=2) from error

        await whole(begin())  # a caller who leaves must not leave a workflow that is recorded and never begins

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
        outcomes = await self._store.outcomes(workflow.id)
        return sorted(outcomes.values(), key=lambda outcome: order[outcome["step"]])

    async def events(self, workflow_id: str, *, after: int = 0, timeout_s: float = 0) -> list[WorkflowEvent]:
        """What has happened since event number `after`, waiting for something to happen if nothing has."""
        until = asyncio.get_running_loop().time() + timeout_s
        with self._changes.of(workflow_id) as change:
            while True:
                change.clear()
                found = await self._store.events(workflow_id, after=after)
                left_s = until - asyncio.get_running_loop().time()
                if found or left_s <= 0 or self.stopping:
                    return found
                await wait_for(change, left_s)

    async def wait(self, workflow_id: str) -> WorkflowRecord:
        """The workflow when it has ended.

        Raises:
            Unavailable: this process is stopping, and leaves it to another one.
        """
        with self._changes.of(workflow_id) as change:
            while True:
                change.clear()
                if workflow_id not in self._worker:  # else it says so itself when it has ended
                    record = await self._store.get(workflow_id, owner=None)
                    if record.ended:
                        return record
                    if self.stopping:
                        raise Unavailable(
                            "This server is stopping, and another one continues the workflow: "
                            f"GET /api/coordinator/status/{workflow_id} shows its status.",
                            code="draining",
                            retry_after_s=2,
                        )
                await change.wait()

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
    ) -> list[WorkflowSummary]:
        """Workflows, newest first. `before` is the id of the last one of the page before; ids sort by time."""
        return await self._store.page(
            owner=owner, status=status, strategy=strategy, name=name, before=before, limit=limit
        )

    async def statistics(self) -> Statistics:
        """How workflows went since the last reset, in all processes."""
        strategies, agents = await counts.read(self._database)
        return Statistics(await self._store.active(), strategies, agents)

    async def reset_statistics(self) -> None:
        """Start counting again from zero."""
        await counts.reset(self._database)

    # --- Ending ---

    async def cancel(
        self, workflow_id: str, *, owner: str | None, reason: str = "The workflow was cancelled."
    ) -> WorkflowRecord:
        """Stop a workflow, with the model call that it is waiting for. What it has done stays recorded.

        Returns:
            the workflow as it is now: cancelled, or about to be by another process.

        Raises:
            NotFound: there is none, or it is somebody else's.
            Conflict: it has ended, perhaps just now.
        """
        record = await self._store.get(workflow_id, owner=owner)
        if record.ended:
            raise _ended(record)
        await self._store.request_cancel(workflow_id)
        cause = RunCancelled(reason)
        if await self._store.cancel_queued(record, cause):
            self._metrics.workflows.inc(record.strategy, "cancelled")
            self._changes.wake(workflow_id)
        self._worker.stop(workflow_id, cause)
        try:
            async with asyncio.timeout(CANCEL_WITHIN_S):
                record = await self.wait(workflow_id)
        except TimeoutError:  # another process may have it, and has been asked
            record = await self._store.get(workflow_id, owner=None)
        if record.ended and record.status != "cancelled":
            raise _ended(record)
        return record

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

    async def _opened(self) -> "Engine":
        """The engine, which is opened when it is first needed: it costs half a second and some threads."""
        async with self._opening:
            if self._engine is None:
                await whole(self._open_engine())  # one that is half open can neither be used nor opened again
            assert self._engine is not None
            return self._engine

    async def _open_engine(self) -> None:
        from amrikyy.workflows.engine import Engine

        engine = Engine(self._database_url, self._engine_file, self._processes.id, self._worker.work)
        try:
            await engine.open()
        except Unavailable:
            await engine.close()
            raise
        except Exception as error:
            log.exception("workflow_engine_not_opened")
            await engine.close()
            await self._database.ping()  # if that is why, it says so
            raise Unavailable("Workflows cannot be run at the moment. Try again shortly.") from error
        self._engine = engine


def _ended(record: WorkflowRecord) -> Conflict:
    return Conflict(f"The workflow has ended: it is {record.status}.", code="workflow_ended")
