"""A run: one execution of an operation for one caller, with an id, an owner, a status and a cost."""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import field

from amrikyy.errors import AmrikyyError, HandedOver, RunCancelled, RunLost
from amrikyy.runs.events import Event
from amrikyy.runs.execution import Execution, Outcome, Spent
from amrikyy.telemetry.spans import Span

Status = Literal["queued", "running", "completed", "failed", "cancelled"]

MAX_READ = 1000
"""The most events that one read returns, so that a reader far behind is not given the whole log at once."""


def new_run_id() -> str:
    """An id that sorts by time (60 bits: milliseconds and their fraction) and cannot be guessed (68 random bits)."""
    return f"run_{time.time_ns() * 4096 // 1_000_000:015x}{_pool.pop() if _pool else _random_digits()}"


def began_at(run_id: str) -> datetime:
    """When the run with this id was started; 1970 if it is not one of our ids."""
    digits = run_id[4:19]
    try:
        return datetime.fromtimestamp(int(digits, 16) / 4096 / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def first_id(moment: datetime) -> str:
    """A lower bound of ids: those of all runs that were started before this moment are smaller."""
    return f"run_{int(moment.timestamp() * 1000) * 4096:015x}"


def _random_digits() -> str:
    """17 random hexadecimal digits, drawn from the system in bulk: a cold call takes 13 microseconds."""
    digits = os.urandom(17 * 64).hex()
    _pool.extend([digits[start : start + 17] for start in range(0, len(digits), 17)])
    return _pool.pop()


_pool: list[str] = []
os.register_at_fork(after_in_child=_pool.clear)  # or two processes would draw the same


class Run(msgspec.Struct, eq=False):
    """What the server does for one caller: an execution of its own, or a share in one that another run started.

    Attributes:
        owner: the principal that the run belongs to.
        request: the validated request as JSON.
        deadline_s: how long it may take.
        detached: it goes on without readers.
        joined: another run started the execution, and pays for it.
        asked: the words that the request was planned from; None if it was not planned.
        elsewhere: it is a copy of a run in another process.
        on_end: called once, a moment after the run has ended in whatever way; then None.
        outcome: how it ended; None while it is in progress.
        started_at: when it began, in seconds since 1970.
        child_runs: how many runs it has started, with those that they have started; the outermost run counts them.
        was_read: its events have been read, and the reader may come back for more.
        span: its span in a trace, while it is in progress; None if it is not traced.
    """

    owner: str
    agent: str
    operation: str
    request: bytes
    deadline_s: float
    execution: Execution = field(default_factory=Execution)
    detached: bool = False
    joined: bool = False
    elsewhere: bool = False
    parent_id: str | None = None
    asked: str | None = None
    on_end: Callable[["Run"], None] | None = None
    span: Span | None = None
    id: str = field(default_factory=new_run_id)
    started_at: float = field(default_factory=time.time)
    started_clock: float = field(default_factory=time.perf_counter)
    duration_s: float | None = None
    child_runs: int = 0
    readers: int = 0
    waiters: int = 0
    was_read: bool = False
    outcome: Outcome | None = None
    _left_after: int | None = None
    _leaving: asyncio.TimerHandle | None = None

    __repr__ = object.__repr__  # the request is the caller's own

    def __post_init__(self) -> None:
        self.execution.follow(self)

    # --- State ---

    @property
    def left(self) -> Outcome | None:
        """How the run ended, if it ended before its execution did."""
        return self.outcome if self._left_after is not None else None

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.outcome is not None

    @property
    def ended_elsewhere(self) -> bool:
        """Whether it ended in another process, which is the one that records the end; one that died does not."""
        if not self.elsewhere or self.outcome is None:
            return False
        error = self.outcome.error
        return error is None or not (isinstance(error, HandedOver) or error.code == RunLost.code)

    @property
    def status(self) -> Status:
        """The status, derived from the outcome and the log."""
        outcome = self.outcome
        if outcome is None:
            events = self.execution.events
            return "queued" if events and events[-1].kind == "queued" else "running"
        if outcome.error is None:
            return "completed"
        return "cancelled" if isinstance(outcome.error, RunCancelled) else "failed"

    @property
    def cached(self) -> bool:
        """Whether the result is that of an earlier execution."""
        return bool(self.execution.cached)

    @property
    def spent(self) -> Spent:
        """What the run itself is charged: nothing if another run started the execution."""
        spent = self.execution.spent
        return Spent(models=spent.models) if self.joined else spent

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start to the end, or to now."""
        return self.duration_s if self.duration_s is not None else time.perf_counter() - self.started_clock

    @property
    def event_count(self) -> int:
        """How many events it has so far."""
        return len(self.execution.events) if self._left_after is None else self._left_after + 1

    @property
    def readable(self) -> int:
        """How many of its events may be shown."""
        shown = self.execution.readable
        return shown if self._left_after is None or shown < self._left_after else self._left_after + 1

    def events(self, start: int, stop: int) -> list[Event]:
        """Events number `start` + 1 to `stop`, as far as they exist."""
        if self._left_after is None:
            return self.execution.events[start:stop]
        assert self.outcome is not None
        log = [*self.execution.events[: self._left_after], _end(self.outcome)]
        return log[start:stop]

    # --- Reading it ---

    def read(self, after: int = 0) -> "Reader":
        """Open a reader that starts after event number `after`."""
        self.was_read = True
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        return Reader(self, after)

    def leave(self, reader: "Reader", grace_s: float) -> None:
        """Close a reader; if nobody else reads or waits, the run is cancelled unless somebody does within `grace_s`."""
        reader.close()
        if self.readers or self.waiters or self.ended or self.detached:
            return
        if grace_s <= 0 or self.elsewhere:  # where a grace period is up to the process that works on it
            self._cancel_unread()
        else:
            self._leaving = asyncio.get_running_loop().call_later(grace_s, self._cancel_unread)

    async def wait(self) -> Outcome:
        """Wait for the end, for which the run goes on when its last reader leaves."""
        self.waiters += 1
        try:
            while (outcome := self.outcome) is None:
                await self.execution.changed()
        finally:
            self.waiters -= 1
        return outcome

    # --- Ending it ---

    def cancel(self, reason: str) -> bool:
        """End the run now. Its execution is stopped, too, unless other runs still follow it.

        Returns:
            False if it had ended already.
        """
        return self.stop(RunCancelled(reason))

    def stop(self, error: AmrikyyError) -> bool:
        """Like `cancel`, but with any error as the outcome."""
        if self.ended:
            return False
        if all(run.ended for run in self.execution.runs if run is not self):
            return self.execution.cancel(error)
        self._left_after = len(self.execution.events)
        self.end(Outcome(error=error))
        self.finish()
        self.execution.wake()
        return True

    def end(self, outcome: Outcome) -> None:
        """Set the outcome and the duration, unless it has ended already."""
        if self.outcome is None:
            self.outcome = outcome
            if self.duration_s is None:  # a copy of another process' run is given the duration of the original
                self.duration_s = time.perf_counter() - self.started_clock

    def finish(self) -> None:
        """Call `on_end`, now that the run has ended, unless that has happened."""
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end(self)

    def _cancel_unread(self) -> None:
        if not self.readers and not self.waiters:
            self.cancel("The reader left and did not come back in time.")


class Reader:
    """A position in a run's log. Reading and closing never change the log."""

    __slots__ = ("_change", "_run", "_timer", "_timer_at", "_until", "closed", "position")

    def __init__(self, run: Run, after: int = 0) -> None:
        self._run = run
        self.position = after
        self.closed = False
        self._change: asyncio.Future[None] | None = None
        self._until = 0.0
        # One timer for all reads, which is set again if it fires too early: a timer a token took a seventh of its CPU.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        run.readers += 1
        run.execution.watch()

    @property
    def at_end(self) -> bool:
        """Whether the last event has been read."""
        return self._run.outcome is not None and self.position >= self._run.event_count

    async def read(self, timeout_s: float) -> list[Event]:
        """The next events after the position, waiting for one if there are none.

        Returns:
            an empty list if `timeout_s` passes without an event, at the end, and if the reader was closed.
        """
        run = self._run
        if self._waits():
            loop = run.execution.loop
            self._until = loop.time() + timeout_s
            if self._timer is None or self._timer_at > self._until:
                self._set_timer(loop)
            while True:
                self._change = run.execution.changed()
                try:
                    await self._change
                finally:
                    self._change = None
                if not self._waits() or loop.time() >= self._until:
                    break
        if self.closed:
            return []
        new = run.events(self.position, min(run.readable, self.position + MAX_READ))
        self.position += len(new)
        return new

    def _waits(self) -> bool:
        run = self._run
        return self.position >= run.readable and not self.closed and not self.at_end

    def close(self) -> None:
        """Close the reader; a pending `read` returns an empty list."""
        if not self.closed:
            self.closed = True
            self._run.readers -= 1
            if self._timer is not None:
                self._timer.cancel()
            if self._change is not None:
                _resolve(self._change)

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._until
        self._timer = loop.call_at(self._until, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._change is None:
            return  # no read is pending: the next one sets another timer
        if loop.time() < self._until:
            self._set_timer(loop)
        else:
            _resolve(self._change)


def _end(outcome: Outcome) -> Event:
    return Event("cancelled" if isinstance(outcome.error, RunCancelled) else "failed", outcome.error)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
