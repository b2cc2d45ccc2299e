"""The one way in which any operation is ever executed."""

import asyncio
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import structlog

from amrikyy.agents.agent import Operation, Request, Result, TextResult
from amrikyy.agents.context import RunContext
from amrikyy.agents.replay import entry_of, play
from amrikyy.agents.second_look import Look, SecondLook
from amrikyy.agents.tally import Tally
from amrikyy.cache import Cache, CacheResult, Entry, key_of
from amrikyy.errors import AmrikyyError, DeadlineExceeded, InternalError, ModelError, RunCancelled, Unavailable
from amrikyy.llm.models import Models
from amrikyy.llm.request import Usage
from amrikyy.runs.events import Event
from amrikyy.runs.execution import Execution, Outcome
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Run, new_run_id
from amrikyy.runs.sharing import Leader, Lease, Sharing
from amrikyy.runs.slots import Place, Slots
from amrikyy.runs.spans import describe_look, describe_run, describe_wait
from amrikyy.sealing import PLAIN, Sealer
from amrikyy.spend import Allowance
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Span

log = structlog.get_logger(__name__)

__all__ = ["RunContext", "Runner"]


class Records(Protocol):
    """Where runs are recorded for good."""

    def note(self, run: Run) -> None:
        """Record the run as it is now, soon.

        Raises:
            Unavailable: it cannot be recorded, so it must not begin.
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
        metrics: is told what happens.
        timeout_s: how long a run may take, waiting in line included.
        sharing: what other processes have to do with runs, if there may be any.
        second_look: finds results of similar requests, if they may be used.
        traces_content: what models answer goes into traces, too.
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
        self.cache = cache
        self.live = live
        self.slots = slots
        self._records = records
        self._timeout_s = timeout_s
        self._sharing = sharing
        self._second_look = second_look
        self._sealer = sealer
        self._tasks: set[asyncio.Task[None]] = set()
        self._flights: dict[_Flight, Execution] = {}
        self._claimed: dict[_Flight, asyncio.Event] = {}
        self._tallies: dict[str, Tally] = {}
        self._refusal: AmrikyyError | None = None
        self._stopped = False

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
    ) -> Run:
        """Begin a run and return as soon as it has begun; its events and its end are in the run.

        A run of a cacheable operation is answered from the cache, or joins an execution of the same request that is
        in progress.

        Args:
            operation: what to run.
            request: its validated request.
            owner: the principal whose run it is.
            streams: somebody reads the events as they come.
            detached: it goes on when nobody reads it.
            priority: it goes before those without when all slots are taken.
            reuse: it may use what was made for an earlier or another run of the same request.
            keep: later runs may use what is made for it.
            parent_id: the run that it is a part of.
            run_id: its id, if it has been given one.
            deadline_s: how long it may take; the server's own limit if not given.
            allowance: what it may spend; None if nothing limits it.
            within: what it is traced as a part of; None if it is not traced.

        Raises:
            Unavailable: the run cannot be recorded, there is no room, or the server is stopping.
        """
        began_ns = within.now_ns() if within is not None else 0
        values = request.model_dump(mode="json", by_alias=True)
        key = self._cache_key(operation, values, owner) if operation.cache_for and (reuse or keep) else None
        sharing = self._sharing if parent_id is None else None
        run_id = run_id or new_run_id()
        entry, lease, look = None, None, None
        if key is not None and reuse:
            entry = self.cache.at_hand(key)
            if self._second_look is not None and not _is_fresh(entry):
                entry = await self.cache.get(key)
                if not _is_fresh(entry):
                    look = await self._look(self._second_look, operation, key, values)
                    entry = look.entry if look is not None and look.entry is not None else entry
            if not _is_fresh(entry):
                entry, lease = await self._ask_others(sharing, _Flight(key, streams), run_id)
        is_fresh = _is_fresh(entry)
        looked_ns = within.now_ns() if within is not None and key is not None and reuse else 0
        flight = _Flight(key, streams) if key is not None and reuse and not is_fresh else None
        # From here to the end nothing waits, so that of two who ask the same at the same time one joins the other.
        if self._refusal is not None and (parent_id is None or self._stopped):
            if sharing is not None and lease is not None:
                sharing.release(lease)
            raise self._refusal
        shared = self._in_progress(flight) if flight is not None else None
        if shared is None and sharing is not None and (streams or not is_fresh or lease is not None):
            execution = sharing.begin(run_id, lease, streams=streams, allowance=allowance)
        else:
            execution = shared or Execution(streams=streams, allowance=allowance)
        leader = lease.leader if lease is not None and shared is None else None
        run = Run(
            owner=owner,
            agent=operation.agent,
            operation=operation.name,
            request=values,
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
            found = "similar" if look is not None and look.entry is entry is not None else _found(entry)
            run.span.note(describe_look, (operation.agent, found), began_ns, looked_ns)
        work = _Work(operation, request, key if keep else None, flight, entry, leader, look)
        try:
            if shared is not None:
                self._add(run)
            elif entry is not None and is_fresh:
                self._add(run)
                run.execution.append(Event("started"))
                play(operation, entry, run.execution, similar=look is not None and look.entry is entry)
                self._end_runs(run.execution)
            else:
                if look is not None and (used := look.usage) is not None:
                    execution.charge(used.model, used.input_tokens, 0, used.cost_usd, estimated=used.estimated)
                self._begin(run, work, priority=priority)
                lease = None  # the execution's now
        finally:
            if sharing is not None and lease is not None:
                sharing.release(lease)
        if key is not None:
            self.cache.count(run.agent, _cache_result(run, reuse=reuse))
        return run

    async def _look(
        self, second_look: SecondLook, operation: Operation[Any, Any], key: str, values: dict[str, Any]
    ) -> Look | None:
        look = await second_look.look(operation, key, values, self.cache)
        if look is not None and look.usage is not None:
            self.count_usage(operation.agent, look.usage)
        return look

    async def _ask_others(
        self, sharing: Sharing | None, flight: "_Flight", run_id: str
    ) -> tuple[Entry | None, Lease | None]:
        """What is kept where all processes can find it, and the lease on making it anew."""
        while claimed := self._claimed.get(flight):
            await claimed.wait()  # somebody here asks already
        entry = self.cache.at_hand(flight.key)
        if _is_fresh(entry) or self._in_progress(flight) is not None or self._refusal is not None:
            return entry, None
        if sharing is None:
            return await self.cache.get(flight.key), None
        self._claimed[flight] = claimed = asyncio.Event()
        claiming = sharing.claim(flight.name, run_id)
        try:
            # In this order, for whoever had the lease before may have left a result.
            entry = await self.cache.get(flight.key)
            return entry, await claiming.lease()
        except BaseException:
            claiming.abandon()
            raise
        finally:
            claimed.set()
            del self._claimed[flight]

    def _in_progress(self, flight: "_Flight") -> Execution | None:
        """What the same request may join here: a stream another stream, a JSON answer either."""
        found = self._flights.get(flight)
        return found if found is not None or flight.streams else self._flights.get(flight._replace(streams=True))

    def _add(self, run: Run) -> None:
        self._records.note(run)
        self.live.add(run)
        if self._sharing is not None:
            self._sharing.note(run)

    def _begin(self, run: Run, work: "_Work", *, priority: bool) -> None:
        # Who follows what another process does needs no slot, as who joins an execution here.
        has_slot = run.parent_id is not None or work.leader is not None
        place = None if has_slot else self.slots.enter(priority=priority)
        try:
            self._add(run)
        except AmrikyyError:
            if place is not None:
                self.slots.leave(place)
            raise
        execution = run.execution
        execution.append(Event("started"))
        if place is not None and not place.has_slot:
            place.moved = lambda position: execution.append(Event("queued", position))
            place.show(self.slots.last(place))
        task = asyncio.get_running_loop().create_task(self._execute(run, work, place), name=run.id)
        self._tasks.add(task)
        execution.done_by(task)
        if work.flight is not None:
            self._flights[work.flight] = execution
        task.add_done_callback(lambda done: self._task_ended(execution, done, place, work.flight))

    def _cache_key(self, operation: Operation[Any, Any], values: dict[str, Any], owner: str) -> str:
        whose = None if operation.shared else owner
        return key_of(
            operation.agent, operation.name, operation.version, whose, values, self._sealer.fingerprint,
            offline=self.models.is_offline,
        )  # fmt: skip

    def count_usage(self, agent: str, used: Usage) -> None:
        """Count what a model call has used: once, however its stream has ended."""
        metrics = self.metrics
        metrics.model_tokens(used.model, agent, "input").inc(used.input_tokens)
        metrics.model_tokens(used.model, agent, "output").inc(used.output_tokens)
        if used.cost_usd is None:
            metrics.unpriced_calls(used.model).inc()
        else:
            metrics.model_dollars(used.model, agent).inc(used.cost_usd)

    @property
    def running(self) -> int:
        """How many executions are in progress or in line."""
        return len(self._tasks)

    def tally(self, agent: str) -> Tally:
        """How the agent's runs ended in this process."""
        return self._tallies.setdefault(agent, Tally())

    def check_open(self) -> None:
        """Whether runs may begin.

        Raises:
            Unavailable: the server is stopping.
        """
        if self._refusal is not None:
            raise self._refusal

    async def drain(self, timeout_s: float) -> None:
        """Start nothing more, send away who waits in line, and give the others time to finish.

        What still runs after `timeout_s` ends with the error `draining`.
        """
        self._refusal = Unavailable(
            "This server is stopping. Send the request again: another one, or the next, will take it.",
            code="draining",
            retry_after_s=2,
        )
        for run in self.live.running():
            if run.status == "queued":
                run.execution.cancel(self._refusal)
        if self._tasks and timeout_s > 0:
            await asyncio.wait(list(self._tasks), timeout=timeout_s)
        self._stopped = True
        for run in self.live.running():
            run.execution.cancel(self._refusal)

    async def close(self) -> None:
        """Stop what still runs and wait until each run has recorded its end."""
        await self.drain(0)
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _task_ended(
        self, execution: Execution, task: asyncio.Task[None], place: Place | None, flight: "_Flight | None"
    ) -> None:
        self._tasks.discard(task)
        if place is not None:
            self.slots.leave(place)
        if flight is not None and self._flights.get(flight) is execution:
            del self._flights[flight]
        if not execution.ended:
            # A task that is cancelled before its first step never runs at all.
            self._fail(execution, execution.cause or RunCancelled("The run was cancelled."))

    async def _execute(self, run: Run, work: "_Work", place: Place | None) -> None:
        operation, execution = work.operation, run.execution
        # Half of what asyncio.timeout costs: the task is cancelled for other causes, too, and knows each.
        deadline = asyncio.get_running_loop().call_later(run.deadline_s, _expire, run)
        try:
            if work.leader is not None and await self._follow(run, work, work.leader):
                return
            if place is not None and not place.has_slot:
                await place.turn
                self.metrics.queue_seconds().observe(run.elapsed_s)
                if run.span is not None:
                    run.span.note(describe_wait, run, run.span.began_ns)
                execution.append(Event("progress", (0, "Your turn")))
            context = RunContext(self, run, operation, work.request)
            result = _encode(await self._work(operation, work.request, context))
        except asyncio.CancelledError:
            # The task is the run's own: being cancelled is how the run ends, and the cause is recorded.
            self._fail(execution, execution.cause or RunCancelled("The run was cancelled."))
        except AmrikyyError as error:
            self._fail(execution, error, work)
        except Exception:
            log.exception("operation_crashed", operation=operation.key, run_id=run.id)
            message = f"The operation {operation.key} failed unexpectedly. The log has the cause, under the run's id."
            self._fail(execution, InternalError(message))
        else:
            execution.append(Event("progress", (100, "Done")))
            execution.end(Event("completed"), Outcome(result=result))
            if work.keep_as is not None and not context.truncated:
                self.cache.put(operation.agent, work.keep_as, entry_of(operation, execution))
                if self._second_look is not None and work.look is not None:
                    self._second_look.keep(work.look, work.keep_as)
            self._end_runs(execution)
        finally:
            deadline.cancel()

    async def _follow(self, run: Run, work: "_Work", leader: Leader) -> bool:
        """Let another process do the work. False when it cannot any more, and this one has to, or to pay for it."""
        assert self._sharing is not None
        assert work.flight is not None
        execution, following = run.execution, leader
        while not await self._sharing.follow(following, execution):
            lease = await self._sharing.claim(work.flight.name, run.id, instead_of=following).lease()
            if lease is None or lease.leader is None:
                self._sharing.lead(execution, lease)
                break
            following = lease.leader
        else:
            self._end_runs(execution)
            return True
        entry = await self.cache.get(work.flight.key)  # somebody may have taken over before, and be done
        if entry is not None and entry.is_fresh:
            play(work.operation, entry, execution)
            self._end_runs(execution)
            return True
        next(each for each in execution.runs if not each.ended).joined = False
        return False

    async def _work(self, operation: Operation[Any, Any], request: Request, context: RunContext) -> Result:
        made: Result | str = await operation.function(request, context)
        if not isinstance(made, str):
            return made
        text_result: type[TextResult] = operation.result_type
        return text_result.from_text(made, request, truncated=context.truncated)

    def _fail(self, execution: Execution, error: AmrikyyError, work: "_Work | None" = None) -> None:
        """End with an error; with an older result instead, if the models failed and nothing has been shown yet."""
        stale = work.stale if work is not None and isinstance(error, ModelError) and error.status >= 500 else None
        if (
            stale is not None
            and work is not None
            and not any(event.kind in ("token", "partial") for event in execution.events)
        ):
            log.warning("stale_result_served", operation=work.operation.key, code=error.code, age_s=int(stale.age_s))
            self.cache.count(work.operation.agent, "stale")
            play(work.operation, stale, execution)
        else:
            kind = Event("cancelled", error) if isinstance(error, RunCancelled) else Event("failed", error)
            execution.end(kind, Outcome(error=error))
        self._end_runs(execution)

    def _end_runs(self, execution: Execution) -> None:
        for run in execution.runs:
            if run.duration_s is None:
                run.finish()
            elif not run.joined:
                self._note(run)  # it left before the end, and pays for what came after, too
        if self._sharing is not None:
            self._sharing.ended(execution)
        execution.runs = []  # they refer to each other, and would wait for the garbage collector

    def _ended(self, run: Run) -> None:
        span, run.span = run.span, None  # it is kept for minutes, and the span with all around it is not
        if span is not None:
            span.end(describe_run, run)
        outcome = run.outcome
        failed = outcome is not None and outcome.error is not None and outcome.error.status >= 500
        self.tally(run.agent).count(failed=failed)
        metrics, execution = self.metrics, run.execution
        metrics.executions(run.agent, run.operation, run.status).inc()
        if outcome is not None and outcome.error is not None:
            metrics.run_errors(run.agent, outcome.error.code).inc()
        if not run.joined and not run.cached:
            metrics.execution_seconds(run.agent, run.operation).observe(run.elapsed_s)
            if execution.streams and execution.first_output_s is not None:
                metrics.first_token_seconds(run.agent).observe(execution.first_output_s)
        self.live.finish(run)
        self._note(run)
        if self._sharing is not None:
            self._sharing.note(run)

    def _note(self, run: Run) -> None:
        try:
            self._records.note(run)
        except AmrikyyError as refused:
            log.error("run_not_recorded", run_id=run.id, reason=refused.message)


class _Flight(NamedTuple):
    """An execution in progress that others may join. A stream joins no JSON answer's: it has no partial events. A JSON
    answer joins a stream's, but only in the same process."""

    key: str
    streams: bool

    @property
    def name(self) -> str:
        """The same for all processes."""
        return f"{self.key}:{'stream' if self.streams else 'json'}"


@dataclass(frozen=True, slots=True)
class _Work:
    """What an execution has to do, and what is done with what it makes."""

    operation: Operation[Any, Any]
    request: Request
    keep_as: str | None
    flight: _Flight | None
    stale: Entry | None
    leader: Leader | None
    """Who does it already, in another process."""
    look: Look | None
    """What was looked for by its meaning."""


def _expire(run: Run) -> None:
    run.execution.cancel(
        DeadlineExceeded(
            f"The run took longer than {run.deadline_s:g} s and was stopped. Ask for less, or raise RUN_TIMEOUT_S."
        )
    )


def _is_fresh(entry: Entry | None) -> bool:
    return entry is not None and entry.is_fresh


def _found(entry: Entry | None) -> str:
    return "hit" if _is_fresh(entry) else "miss" if entry is None else "stale"


def _cache_result(run: Run, *, reuse: bool) -> CacheResult:
    if not reuse:
        return "bypass"
    if run.execution.cached == "similar":
        return "similar"
    return "hit" if run.cached else "join" if run.joined else "miss"


def _encode(result: Result) -> bytes:
    return result.__pydantic_serializer__.to_json(result, by_alias=True)
