"""The runs that this process has in memory: those in progress, and finished ones while they can be replayed."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

from amrikyy.runs.run import Run

MAX_FINISHED = 10_000
"""Finished runs kept at most; a busy server replaces the oldest before their time is over."""


class LiveRuns:
    """Runs by id. A finished one is forgotten after `keep_s`, or earlier when there are too many."""

    def __init__(self, keep_s: float, max_finished: int = MAX_FINISHED) -> None:
        self._keep_s = keep_s
        self._max_finished = max_finished
        self._running: dict[str, Run] = {}
        self._finished: OrderedDict[str, tuple[float, Run]] = OrderedDict()

    def add(self, run: Run) -> None:
        """A run has begun."""
        self._running[run.id] = run

    def finish(self, run: Run) -> None:
        """A run has ended."""
        self._running.pop(run.id, None)
        now = asyncio.get_running_loop().time()
        self._finished[run.id] = (now, run)
        self._forget(now)

    def get(self, run_id: str) -> Run | None:
        """The run, if this process still has it."""
        if run := self._running.get(run_id):
            return run
        self._forget(asyncio.get_running_loop().time())
        finished = self._finished.get(run_id)
        return finished[1] if finished else None

    def running(self) -> Iterator[Run]:
        """The runs in progress; safe against changes while it is read."""
        return iter(list(self._running.values()))

    def _forget(self, now: float) -> None:
        finished = self._finished
        while finished:
            ended_at, _ = next(iter(finished.values()))
            if len(finished) <= self._max_finished and now - ended_at <= self._keep_s:
                return
            finished.popitem(last=False)
