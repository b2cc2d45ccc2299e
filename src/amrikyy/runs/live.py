"""The runs that this process has in memory: those in progress, and finished streams while they can be replayed."""

import time
from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from amrikyy.runs.run import Run

MAX_FINISHED = 10_000
"""Finished runs kept at most."""

MAX_FINISHED_BYTES = 256_000_000
"""About how much memory they may take; a busy server forgets the oldest before their time is over."""

EVENT_BYTES = 120
"""Of one event in memory, with a token's text; measured with sys.getsizeof on the parts."""


class _Finished(msgspec.Struct):
    run: Run
    ended_at: float
    size: int


class LiveRuns:
    """Runs by id. A finished one is forgotten after `keep_s`, or earlier when there are too many or too large ones."""

    def __init__(
        self, keep_s: float, *, max_finished: int = MAX_FINISHED, max_finished_bytes: int = MAX_FINISHED_BYTES
    ) -> None:
        self._keep_s = keep_s
        self._max_finished = max_finished
        self._max_finished_bytes = max_finished_bytes
        self._running: dict[str, Run] = {}
        self._finished: OrderedDict[str, _Finished] = OrderedDict()
        self._finished_bytes = 0
        self._plain: OrderedDict[str, float] = OrderedDict()
        """Ids of those that are in the database alone, with when they ended."""

    def add(self, run: Run) -> None:
        """A run has begun."""
        self._running[run.id] = run

    def finish(self, run: Run) -> None:
        """A run has ended."""
        self._running.pop(run.id, None)
        finished = _Finished(run, time.monotonic(), _size(run))
        self._finished[run.id] = finished
        self._finished_bytes += finished.size
        self._forget(finished.ended_at)

    def recorded(self, run: Run) -> None:
        """A run that has ended is in the database: if nobody has read its events, all that there is to it is there.

        Thousands of them were most of what the garbage collector walked over, for tenths of a second.
        """
        if run.execution.streams or run.was_read or (finished := self._finished.pop(run.id, None)) is None:
            return
        self._finished_bytes -= finished.size
        self._plain[run.id] = finished.ended_at
        if len(self._plain) > self._max_finished:
            self._plain.popitem(last=False)

    def is_plain(self, run_id: str) -> bool:
        """Whether the run could still be taken up, and its record is all that there is to it."""
        ended_at = self._plain.get(run_id)
        return ended_at is not None and time.monotonic() - ended_at <= self._keep_s

    def get(self, run_id: str) -> Run | None:
        """The run, if this process still has it."""
        if run := self._running.get(run_id):
            return run
        self._forget(time.monotonic())
        finished = self._finished.get(run_id)
        return finished.run if finished else None

    def running(self) -> Iterator[Run]:
        """The runs in progress; safe against changes while it is read."""
        return iter(list(self._running.values()))

    def _forget(self, now: float) -> None:
        while self._finished:
            oldest = next(iter(self._finished.values()))
            fits = len(self._finished) <= self._max_finished and self._finished_bytes <= self._max_finished_bytes
            if fits and now - oldest.ended_at <= self._keep_s:
                return
            self._finished.popitem(last=False)
            self._finished_bytes -= oldest.size


def _size(run: Run) -> int:
    outcome = run.outcome
    result = len(outcome.result) if outcome is not None and outcome.result is not None else 0
    # The text of a result is there twice: in its JSON, and in the events that it grew by.
    return 2000 + EVENT_BYTES * len(run.execution.events) + 2 * result
