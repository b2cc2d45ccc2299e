"""The deadlines of all runs in progress, with one timer."""

import asyncio
from collections.abc import Callable

from amrikyy.runs.run import Run

TOGETHER_S = 0.05
"""How much later than its deadline a run may be stopped, so that those of thousands are looked at together."""


class Deadlines:
    """Calls back when runs reach their deadlines.

    Nearly all end long before, so that a timer of its own (1.6 us, and 400 bytes) would be set for nothing.

    Args:
        expire: called with a run that is still in progress at its deadline.
    """

    def __init__(self, expire: Callable[[Run], object]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._due: dict[Run, float] = {}
        # It may fire before the first deadline, because runs end, and up to `TOGETHER_S` after it.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def add(self, run: Run) -> None:
        """Begin to watch a run."""
        due = self._due[run] = self._loop.time() + run.deadline_s
        if self._timer is None or due < self._timer_at:
            self._set_timer(due)

    def remove(self, run: Run) -> None:
        """The run has ended."""
        self._due.pop(run, None)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        passed = {run.id: run for run, due in self._due.items() if due <= now}
        # A child run is due with the run that it is a part of, which cancels it; only what it leaves is stopped here.
        expired = [run for run in passed.values() if run.parent_id not in passed]
        for run in expired:
            del self._due[run]
        if self._due:
            self._set_timer(max(min(self._due.values()), now + TOGETHER_S))
        for run in expired:
            self._expire(run)
