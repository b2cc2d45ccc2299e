"""The runs that this process holds in memory: those in progress, and finished streams while they can be replayed."""

import time
from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from amrikyy.runs.run import Run

MAX_FINISHED = 10_000
"""The most finished runs that are kept."""

MAX_FINISHED_BYTES = 256_000_000
"""About how much memory they may take; a busy server evicts the oldest before `keep_s` is over."""

EVENT_BYTES = 120
"""Memory of one event with a token's text; measured with sys.getsizeof on its parts."""


class _Finished(msgspec.Struct):
    run: Run
    ended_at: float
    size: int


class LiveRuns:
    """Runs by id. A finished one is evicted after `keep_s`, or earlier if there are too many or they take too much."""

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
        """Ids of finished runs that only the database has, with the time of their end."""

    def add(self, run: Run) -> None:
        """Add a run that has begun."""
        self._running[run.id] = run

    def finish(self, run: Run) -> None:
        """Move a run that has ended to the finished ones."""
        self._running.pop(run.id, None)
        finished = _Finished(run, time.monotonic(), _size(run))
        self._finished[run.id] = finished
        self._finished_bytes += finished.size
        self._forget(finished.ended_at)

    def recorded(self, run: Run) -> None:
        """Drop a run whose end is in the database, if nobody has read its events: the record is all that is needed.

        Thousands of these were most of what the garbage collector traversed, for tenths of a second.
        """
        if run.execution.streams or run.was_read or (finished := self._finished.pop(run.id, None)) is None:
            return
        self._finished_bytes -= finished.size
        self._plain[run.id] = finished.ended_at
        if len(self._plain) > self._max_finished:
            self._plain.popitem(last=False)

    def is_plain(self, run_id: str) -> bool:
        """Whether the run can still be resumed, from its record alone."""
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
        """The runs in progress: an iterator over a copy, so that runs may begin and end meanwhile."""
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
    # The text of a result is held twice: in its JSON, and in the events that it grew by.
    return 2000 + EVENT_BYTES * len(run.execution.events) + 2 * result
