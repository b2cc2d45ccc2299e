"""The runs of all processes: publishes this one's, and reads, cancels and joins those of others."""

import asyncio
import secrets
import time
from contextlib import suppress
from typing import cast

import msgspec
import structlog

from amrikyy.errors import AmrikyyError, HandedOver, RedisUnavailable, RunCancelled, RunLost, Undecryptable, error_of
from amrikyy.redis_link import RedisLink, Reply
from amrikyy.runs.elsewhere import ExecutionElsewhere
from amrikyy.runs.execution import Execution
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Run
from amrikyy.runs.shared.encoding import RunNote, add_batch, decode_note
from amrikyy.runs.shared.keys import Keys
from amrikyy.runs.shared.lease import CLAIM, RELEASE, Leases
from amrikyy.runs.shared.log import APPEND, LoggedExecution, RunLog
from amrikyy.runs.shared.presence import Order, Presence
from amrikyy.runs.shared.tail import ENTRIES, Tail
from amrikyy.runs.sharing import Claiming, Leader, Lease
from amrikyy.sealing import PLAIN, Sealer
from amrikyy.spend import Allowance

log = structlog.get_logger(__name__)

SCRIPTS = (APPEND, CLAIM, RELEASE)

SETTLES_WITHIN_S = 5.0
"""After Redis is back: by then every process has noticed (it checks every 2 s) and written what was missing."""


class SharedRuns:
    """A `Sharing` in Redis, with which the routes also find the runs of other processes.

    Args:
        link: shared with the cache, so that a lease is released after the result that was produced under it is sent.
        prefix: the prefix of all keys.
        live: this process' runs.
        keep_s: how long a finished run can be read.
        grace_s: how long a run goes on without readers.
        timeout_s: how long a run may take.
        sealer: seals notes and events.
    """

    is_alone = False

    def __init__(
        self,
        link: RedisLink,
        *,
        prefix: str,
        live: LiveRuns,
        keep_s: float,
        grace_s: float,
        timeout_s: float,
        sealer: Sealer = PLAIN,
    ) -> None:
        self.process = secrets.token_hex(8)
        self._link = link
        self._sealer = sealer
        self._keys = Keys(prefix)
        self._leases = Leases(link, self._keys, self.process, timeout_s=timeout_s)
        self._log = RunLog(link, self._keys, self.process, sealer, keep_s=keep_s, timeout_s=timeout_s)
        self._presence = Presence(link, self._keys, self.process, live, grace_s=grace_s)
        self._following: dict[asyncio.Task[None], Run] = {}
        self._sends_on = False

    @property
    def is_settled(self) -> bool:
        """Whether a run that is not found does not exist: Redis is up, and has been sent all that it had missed."""
        state = self._link.state
        return state.is_up and time.monotonic() - state.since > SETTLES_WITHIN_S

    async def close(self) -> None:
        """Write what is left, and withdraw this process."""
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        await self._log.close()
        await self._presence.close()

    def send_on(self) -> None:
        """Tell readers of other processes' runs to go on elsewhere, because this process is stopping."""
        self._sends_on = True
        for task, run in list(self._following.items()):
            _fail(run, _handed_over())
            task.cancel()

    # --- Runs of this process ---

    def begin(self, execution_id: str, lease: Lease | None, *, streams: bool, allowance: Allowance | None) -> Execution:
        """A new execution, whose events are shown once they are stored, or at once while Redis is away."""
        execution = LoggedExecution(
            streams=streams, allowance=allowance, run_log=self._log, id=execution_id, is_told=streams
        )
        self.lead(execution, lease)
        return execution

    def note(self, run: Run) -> None:
        """Write the present state of the run."""
        self._log.note(run)

    # --- One execution for identical requests ---

    def claim(self, flight: str, execution_id: str, *, instead_of: Leader | None = None) -> Claiming:
        """Ask for the lease; one of a dead process, or of `instead_of`, is replaced."""
        return self._leases.claim(flight, execution_id, instead_of=instead_of)

    def lead(self, execution: Execution, lease: Lease | None) -> None:
        """Make the execution the holder of the lease."""
        if isinstance(execution, LoggedExecution) and lease is not None and lease.leader is None:
            execution.lease = lease

    def ended(self, execution: Execution) -> None:
        """Release its lease: on the cache's connection, and so after its result."""
        if isinstance(execution, LoggedExecution) and execution.lease is not None:
            self.release(execution.lease)

    def release(self, lease: Lease) -> None:
        """Release the lease."""
        if lease.leader is None:
            self._leases.give_back(lease)

    async def follow(self, leader: Leader, execution: Execution) -> bool:
        """Copy the events of the leader's execution: those of a stream as they come, others all at the end."""

        def renew() -> None:
            self._presence.order(leader.process, Order("join", leader.execution_id))

        tail = Tail(self._link, self._keys, self._sealer, leader.execution_id, leader.process, renew)
        batches = []
        try:
            async for batch in tail.follow():
                batches.append(batch)
                if batch.end is not None and batch.end.result is None and _stopped(batch.events[-1][1]):
                    raise RunLost("Another process was stopped while it worked on the same request. Send it again.")
                if execution.streams or batch.end is not None:
                    for each in batches:
                        add_batch(execution, each)
                    batches.clear()
        except (RunLost, RedisUnavailable):
            if any(event.kind in ("token", "partial") for event in execution.events):
                raise
            return False
        return True

    # --- Runs of other processes ---

    async def cancel(self, run_id: str, reason: str, *, owner: str | None) -> bool:
        """Order the process that works on a run to cancel it, which it does within a quarter of a second.

        Args:
            run_id: the run.
            reason: the message for its readers.
            owner: the owner that it must have; None for any.

        Returns:
            False if no other process works on such a run.
        """
        try:
            note = await self._note(run_id)
            if note is None or note.duration_s is not None or owner not in (None, note.owner):
                return False
            if not await self._link.send("EXISTS", self._keys.process(note.process)):
                return False
            self._presence.order(note.process, Order("cancel", run_id, reason))
            await self._link.ping()  # what was sent before has arrived
        except RedisUnavailable:
            return False
        return True

    async def is_orphaned(self, run_id: str) -> bool:
        """Whether the process that ran it has died. False if that cannot be known, because Redis is away."""
        try:
            note = await self._note(run_id)
            return note is not None and not await self._link.send("EXISTS", self._keys.process(note.process))
        except RedisUnavailable:
            return False

    async def find(self, run_id: str) -> Run | None:
        """A copy of another process' run, with the events stored so far, that follows the run once it is read.

        Cancelling the copy only stops following the run. None if Redis does not have the run, or is away.
        """
        try:
            note = await self._note(run_id)
            if note is None or note.process == self.process:
                return None
            execution = ExecutionElsewhere(streams=note.streams)
            run = Run(
                owner=note.owner,
                agent=note.agent,
                operation=note.operation,
                request=note.request,
                deadline_s=0,
                execution=execution,
                joined=note.joined,
                elsewhere=True,
                asked=note.asked,
                id=run_id,
                started_at=note.started_at,
                duration_s=note.duration_s,
            )
            tail = Tail(
                self._link,
                self._keys,
                self._sealer,
                note.execution,
                note.process,
                lambda: self._renew(run, note.process),
            )
            while True:
                batches = await tail.stored()
                for batch in batches:
                    if batch.end is not None and run.duration_s is None:
                        await self._time(run)
                    add_batch(execution, batch)
                if len(batches) < ENTRIES:
                    break
        except (RedisUnavailable, RunLost):
            return None
        if note.left is not None:
            _leave(run, note)
        elif not run.ended:
            execution.followed_by(lambda: self._begin_to_follow(run, tail))
        return run

    def _begin_to_follow(self, run: Run, tail: Tail) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(self._go_on(run, tail), name=f"follow-{run.id}")
        self._following[task] = run
        task.add_done_callback(self._following.pop)
        return task

    async def _go_on(self, run: Run, tail: Tail) -> None:
        try:
            if self._sends_on:
                raise _handed_over()
            async for batch in tail.follow():
                if batch.end is not None:
                    await self._time(run)
                if not run.ended:
                    add_batch(run.execution, batch)
        except AmrikyyError as error:
            _fail(run, error)
        except Exception:
            log.exception("run_not_followed", run_id=run.id)
            _fail(run, RunLost("The events of this run cannot be read any more. Start it again."))

    def _renew(self, run: Run, process: str) -> None:
        """Tell the other process that the run is being read, and check whether it has left its execution there."""

        def look(reply: "asyncio.Future[Reply]") -> None:
            if reply.cancelled() or reply.exception() is not None or not (encoded := reply.result()):
                return
            with suppress(Undecryptable):  # then so are its events, which tells the reader
                note = self._read(run.id, encoded)
                if note is not None and note.left is not None and not run.ended:
                    run.duration_s = note.duration_s
                    _fail(run, error_of(note.left))

        self._presence.order(process, Order("read", run.id))
        self._link.send("GET", self._keys.run(run.id)).add_done_callback(look)

    async def _time(self, run: Run) -> None:
        """Set the duration to that of the original, which is written before the last event."""
        with suppress(RedisUnavailable):
            note = await self._note(run.id)
            run.duration_s = note.duration_s if note is not None else None

    async def _note(self, run_id: str) -> RunNote | None:
        return self._read(run_id, await self._link.send("GET", self._keys.run(run_id)))

    def _read(self, run_id: str, encoded: Reply) -> RunNote | None:
        if encoded is None:
            return None
        try:
            return decode_note(self._sealer.unseal(cast("bytes", encoded), self._keys.run(run_id)))
        except (msgspec.DecodeError, RecursionError):
            log.warning("run_note_unreadable", run_id=run_id)
            return None


def _leave(run: Run, note: RunNote) -> None:
    assert note.left is not None
    assert note.left_after is not None
    run.execution.reopen(note.left_after)
    _fail(run, error_of(note.left))


def _handed_over() -> HandedOver:
    message = "This server is stopping; another one is working on the run. Take it up on any other server."
    return HandedOver(message, retry_after_s=1)


def _fail(run: Run, error: AmrikyyError) -> None:
    if not run.ended:
        run.execution.fail(error)


def _stopped(error: dict[str, object]) -> bool:
    """Whether an execution ended because of its own process or caller, which does not concern those that joined it."""
    return error["code"] in (RunCancelled.code, "draining")
