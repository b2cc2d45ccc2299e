"""Runs operations; there is no other way to execute one."""

import asyncio
from collections import defaultdict
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog

from amrikyy.agents.agent import Operation, Request, encode_request
from amrikyy.agents.context import RunContext
from amrikyy.agents.counts import count_run
from amrikyy.agents.replay import play
from amrikyy.agents.results import check_error, encode_result
from amrikyy.agents.reuse import NOTHING, Ahead, Found, Reuse
from amrikyy.agents.second_look import SecondLook
from amrikyy.agents.tally import Tally
from amrikyy.cache import Cache
from amrikyy.errors import AmrikyyError, DeadlineExceeded, InternalError, ModelError, RunCancelled, Unavailable
from amrikyy.llm.models import Models
from amrikyy.runs.deadlines import Deadlines
from amrikyy.runs.events import Event
from amrikyy.runs.execution import CLEAN_UP_S, Execution, Outcome
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Run, new_run_id
from amrikyy.runs.sharing import Alone, Leader, Sharing
from amrikyy.runs.slots import Place, Slots
from amrikyy.runs.spans import describe_look, describe_run, describe_wait
from amrikyy.sealing import PLAIN, Sealer
from amrikyy.spend import Allowance
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Span

log = structlog.get_logger(__name__)


class Records(Protocol):
    """Where runs are stored permanently."""

    def note(self, run: Run) -> None:
        """Record the run as it is now, soon. Raises as `check` does, for a run that has not ended."""
        ...

    def check(self) -> None:
        """Make sure that a run that begins now can be recorded.

        Raises:
            Unavailable: it cannot, so none may begin.
        """
        ...


class Runner:
    """Starts runs and owns the tasks that execute them.

    Args:
        models: what operations ask.
        cache: results of earlier executions.
        live: where runs are found by their id.
        records: where they are kept for good.
        slots: how many runs may work at a time; the parts of a run need no slot of their own.
        metrics: counts what happens.
        timeout_s: how long a run may take, waiting in line included.
        sharing: coordinates runs with other processes, if there may be any.
        second_look: finds results of similar requests, if they may be used.
        traces_content: whether the answers of models go into traces, too.
        sealer: hashes requests, to find their cached results.

    Attributes:
        is_alone: whether no other process takes part in its runs.
    """

    def __init__(
        self,
        models: Models,
        cache: Cache,
        live: LiveRuns,
        records: Records,
        slots: Slots,
        metrics: Metrics,
        *,
        timeout_s: float,
        sharing: Sharing | None = None,
        second_look: SecondLook | None = None,
        traces_content: bool = False,
        sealer: Sealer = PLAIN,
    ) -> None:
        self.traces_content = traces_content
        self.models = models
        self.metrics = metrics
        self.live = live
        self.slots = slots
        self._reuse = Reuse(cache, second_look, models, sealer, metrics)
        self._records = records
        self._timeout_s = timeout_s
        self._alone = Alone()
        self._sharing: Sharing = sharing or self._alone
        self.is_alone = self._sharing.is_alone
        self._loop = asyncio.get_running_loop()  # kept, because each look-up costs a system call
        self._deadlines = Deadlines(_expire)
        self._tasks: set[asyncio.Task[None]] = set()
        self._given_up: set[asyncio.Task[None]] = set()
        self._tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self._refusal: AmrikyyError | None = None
        self._stopped = False

    @property
    def running(self) -> int:
        """How many executions are in progress or waiting in line."""
        return len(self._tasks)

    def tally(self, agent: str) -> Tally:
        """How the agent's runs have ended in this process."""
        return self._tallies[agent]

    # --- Beginning ---

    def look_ahead(
        self, operation: Operation[Any, Any], request: Request, *, owner: str, streams: bool
    ) -> Ahead | None:
        """Query the other processes about a request before it is known whether it is allowed.

        What is returned must be passed to `start`, or abandoned. None if there is nobody to ask.
        """
        if not operation.cache_for or self.is_alone:
            return None
        return self._reuse.look_ahead(operation, request, owner, streams=streams, sharing=self._sharing)

    async def start(
        self,
        operation: Operation[Any, Any],
        request: Request,
        *,
        owner: str,
        streams: bool = False,
        detached: bool = False,
        priority: bool = False,
        reuse: bool = True,
        keep: bool = True,
        parent_id: str | None = None,
        run_id: str | None = None,
        deadline_s: float | None = None,
        allowance: Allowance | None = None,
        within: Span | None = None,
        ahead: Ahead | None = None,
    ) -> Run:
        """Begin a run and return as soon as it has begun; its events and its end are in the run.

        A run of a cacheable operation is answered from the cache, or joins an execution of the same request that is
        in progress.

        Args:
            operation: what to run.
            request: its validated request.
            owner: the principal whose run it is.
            streams: whether somebody reads the events as they come.
            detached: whether it goes on when nobody reads it.
            priority: whether it goes before runs without priority when all slots are taken.
            reuse: whether it may use the result of an earlier or another run of the same request.
            keep: whether later runs may use its result.
            parent_id: the run that it is a part of.
            run_id: its id, if it already has one.
            deadline_s: how long it may take; the server's own limit if not given.
            allowance: what it may spend; None if nothing limits it.
            within: what it is traced as a part of; None if it is not traced.
            ahead: from `look_ahead`, with the same operation, request, owner and `streams`.

        Raises:
            Unavailable: the run cannot be recorded, there is no room, or the server is stopping.
        """
        began_ns = within.now_ns() if within is not None else 0
        key: str | None = None
        if ahead is not None:
            encoded, key, run_id = ahead.request, ahead.key, ahead.run_id
        else:
            encoded, run_id = encode_request(request), run_id or new_run_id()
            if operation.cache_for and (reuse or keep):
                key = self._reuse.key_of(operation, encoded, owner)
        sharing = self._sharing if parent_id is None else self._alone
        found, looked_ns = NOTHING, 0
        if key is not None and reuse:
            asked = ahead.asked if ahead is not None else None
            found = await self._reuse.find(
                operation, encoded, key, streams=streams, run_id=run_id, sharing=sharing, asked=asked
            )
            looked_ns = within.now_ns() if within is not None else 0
        # From here on nothing is awaited, so that of two identical requests at the same time one joins the other.
        lease, leader = found.lease, found.leader
        try:
            if self._refusal is not None and (parent_id is None or self._stopped):
                raise self._refusal
            execution = shared = self._reuse.in_progress(found.flight)
            if execution is None:
                is_seen = streams or found.entry is None or lease is not None
                visible_to = sharing if is_seen else self._alone
                execution = visible_to.begin(run_id, lease, streams=streams, allowance=allowance)
            run = Run(
                owner=owner,
                agent=operation.agent,
                operation=operation.name,
                request=encoded,
                deadline_s=min(deadline_s or self._timeout_s, self._timeout_s),
                execution=execution,
                detached=detached,
                joined=shared is not None or leader is not None,
                parent_id=parent_id,
                id=run_id,
                on_end=self._ended,
                span=within.child(began_ns) if within is not None else None,
            )
            if run.span is not None and looked_ns:
                run.span.note(describe_look, (operation.agent, found.word), began_ns, looked_ns)
            if shared is not None:
                self._add(run)
            elif found.entry is not None:
                self._add(run)
                execution.append(Event("started"))
                play(operation, found.entry, execution, similar=found.is_similar)
                self._settle(execution)
            else:
                self._begin(run, _Work(operation, request, key if keep else None, found, leader), priority=priority)
                lease = None  # the execution has it now
        finally:
            if lease is not None:
                sharing.release(lease)
        if key is not None:
            self._reuse.count(run, asked=reuse)
        return run

    def _add(self, run: Run) -> None:
        self._records.note(run)
        self.live.add(run)
        self._sharing.note(run)

    def _begin(self, run: Run, work: "_Work", *, priority: bool) -> None:
        execution, found = run.execution, work.found
        if found.look is not None and (used := found.look.usage) is not None:
            execution.charge(used.model, used.input_tokens, 0, used.cost_usd, estimated=used.estimated)
        # A run that follows another process needs no slot, nor does one that joins an execution here.
        has_slot = run.parent_id is not None or work.leader is not None
        place = None if has_slot else self.slots.enter(priority=priority)
        try:
            self._add(run)
        except AmrikyyError:
            if place is not None:
                self.slots.leave(place)
            raise
        execution.append(Event("started"))
        if place is not None and not place.has_slot:
            place.moved = lambda position: execution.append(Event("queued", position))
            place.show(self.slots.last(place))
        task = self._loop.create_task(self._execute(run, work, place), name=run.id)
        self._tasks.add(task)
        execution.done_by(task, partial(self._give_up, run, task))
        if found.flight is not None:
            self._reuse.begun(found.flight, execution)
        task.add_done_callback(partial(self._task_ended, execution, place, found))

    # --- Executing ---

    async def _execute(self, run: Run, work: "_Work", place: Place | None) -> None:
        operation, execution, found = work.operation, run.execution, work.found
        self._deadlines.add(run)
        try:
            if work.leader is not None:
                if await self._reuse.follow(operation, found, run.id, execution, self._sharing):
                    self._settle(execution)
                    return
                next(each for each in execution.runs if not each.ended).joined = False  # and pays
            if place is not None and not place.has_slot:
                assert place.turn is not None
                await place.turn
                self.metrics.queue_seconds.observe(run.elapsed_s)
                if run.span is not None:
                    run.span.note(describe_wait, run, run.span.began_ns)
                execution.append(Event("progress", (0, "Your turn")))
            context = RunContext(self, run, operation, work.request)
            made = await operation.function(work.request, context)
            encoded = encode_result(operation, made, work.request, truncated=context.truncated)
        except asyncio.CancelledError:
            # The task belongs to the run: cancelling it ends the run, and the cause is recorded.
            self._fail(execution, execution.cause or RunCancelled("The run was cancelled."))
        except AmrikyyError as error:
            if not self._serve_stale(execution, error, work):
                self._fail(execution, check_error(operation, error))
        except GeneratorExit:
            raise  # the coroutine is being closed; if the operation itself has raised it, `_task_ended` fails the run
        except BaseException:  # `sys.exit()` in a library would end the server, and all other runs with it
            log.exception("operation_crashed", operation=operation.key, run_id=run.id)
            self._fail(execution, _unforeseen(operation.key, run.id))
        else:
            if execution.outcome is not None:
                return
            execution.append(Event("progress", (100, "Done")))
            execution.end(Event("completed"), Outcome(result=encoded))
            if work.keep_as is not None and not context.truncated:
                self._reuse.keep(operation, work.keep_as, found.look, execution)
            # Other processes learn of the run's end together with its last event. Without any, and without another
            # execution here, whoever waits is told first, 20 us earlier; with others that costs 2 % of the CPU.
            if not self.is_alone or len(self._tasks) > 1:
                self._settle(execution)
        finally:
            self._deadlines.remove(run)

    def _task_ended(self, execution: Execution, place: Place | None, found: Found, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._given_up.discard(task)
        if place is not None:
            self.slots.leave(place)
        if found.flight is not None:
            self._reuse.ended(found.flight, execution)
        if execution.outcome is None:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                run_id, operation = task.get_name(), f"{execution.runs[0].agent}.{execution.runs[0].operation}"
                log.error("operation_crashed", operation=operation, run_id=run_id, exc_info=error)
                self._fail(execution, _unforeseen(operation, run_id))
            else:  # a task that is cancelled before its first step never runs at all
                self._fail(execution, execution.cause or RunCancelled("The run was cancelled."))
        elif execution.runs:
            self._settle(execution)

    # --- Ending ---

    def _give_up(self, run: Run, task: asyncio.Task[None]) -> None:
        """End a run whose operation continues although it was cancelled; whatever it still does is ignored."""
        log.error(
            "operation_ignores_cancellation",
            operation=f"{run.agent}.{run.operation}",
            run_id=run.id,
            waited_s=CLEAN_UP_S,
            hint="it catches asyncio.CancelledError (or everything) and must raise it again",
        )
        self._given_up.add(task)
        self._fail(run.execution, run.execution.cause or RunCancelled("The run was cancelled."))

    def _fail(self, execution: Execution, error: AmrikyyError) -> None:
        if execution.ended:
            return
        execution.fail(error)
        self._settle(execution)

    def _serve_stale(self, execution: Execution, error: AmrikyyError, work: "_Work") -> bool:
        """End with an outdated result instead of an error, if the models failed and nothing has been shown yet."""
        stale = work.found.stale
        if stale is None or not isinstance(error, ModelError) or error.status < 500:
            return False
        if any(event.kind in ("token", "partial") for event in execution.events):
            return False
        log.warning("stale_result_served", operation=work.operation.key, code=error.code, age_s=int(stale.age_s))
        self._reuse.count_stale(work.operation.agent)
        play(work.operation, stale, execution)
        self._settle(execution)
        return True

    def _settle(self, execution: Execution) -> None:
        for run in execution.runs:
            run.finish()
            if run.left is not None and not run.joined:
                self._note(run)  # it left before the end, but pays for what came after, too
        self._sharing.ended(execution)
        execution.runs = []  # a reference cycle, which would wait for the garbage collector

    def _ended(self, run: Run) -> None:
        span, run.span = run.span, None  # the run is kept for minutes; the span and all it refers to are not
        if span is not None:
            span.end(describe_run, run, at_s=run.started_clock + run.elapsed_s)
        outcome = run.outcome
        failed = outcome is not None and outcome.error is not None and outcome.error.status >= 500
        self._tallies[run.agent].count(failed=failed)
        count_run(self.metrics, run)
        self.live.finish(run)
        self._note(run)
        self._sharing.note(run)

    def _note(self, run: Run) -> None:
        try:
            self._records.note(run)
        except AmrikyyError as refused:
            log.error("run_not_recorded", run_id=run.id, reason=refused.message)

    # --- Stopping ---

    def check_open(self) -> None:
        """Raise unless runs may begin.

        Raises:
            Unavailable: the server is stopping, or runs cannot be recorded.
        """
        if self._refusal is not None:
            raise self._refusal
        self._records.check()

    async def drain(self, timeout_s: float) -> None:
        """Start no more runs, refuse those that wait in line, and give those in progress time to finish.

        What still runs after `timeout_s` ends with the error `draining`.
        """
        self._refusal = Unavailable(
            "This server is stopping. Send the request again: another server, or this one's successor, will take it.",
            code="draining",
            retry_after_s=2,
        )
        self._reuse.stop()
        for run in self.live.running():
            if run.status == "queued":
                run.execution.cancel(self._refusal)
        if self._tasks and timeout_s > 0:
            await asyncio.wait(list(self._tasks), timeout=timeout_s)
        self._stopped = True
        for run in self.live.running():
            run.execution.cancel(self._refusal)

    async def close(self) -> None:
        """Cancel what still runs and wait until the end of each run is recorded.

        Work that ignores its cancellation is left behind after `CLEAN_UP_S`.
        """
        await self.drain(0)
        stop_at = asyncio.get_running_loop().time() + CLEAN_UP_S + 1
        while tasks := self._tasks - self._given_up:
            left_s = stop_at - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            # At most a second at a time: the work may be given up meanwhile.
            await asyncio.wait(tasks, timeout=min(left_s, 1.0))


class _Work(msgspec.Struct, frozen=True):
    """What an execution does, and what becomes of its result."""

    operation: Operation[Any, Any]
    request: Request
    keep_as: str | None
    found: Found
    leader: Leader | None


def _unforeseen(operation: str, run_id: str) -> InternalError:
    return InternalError(f"The operation {operation} failed unexpectedly. The log has the cause, under {run_id}.")


def _expire(run: Run) -> None:
    run.execution.cancel(
        DeadlineExceeded(
            f"The run took longer than {run.deadline_s:g} s and was stopped. Ask for less, or raise RUN_TIMEOUT_S."
        )
    )
