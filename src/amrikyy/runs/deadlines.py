"""The deadlines of all runs in progress, with one timer."""

import asyncio
from collections.abc import Callable

from amrikyy.runs.run import Run

TOGETHER_S = 0.05
"""How much later than its deadline a run may be stopped, so that those of thousands are looked at together."""


class Deadlines:
    """Calls back when runs reach their deadlines.

    Nearly all end long before, and a timer of its own takes a run half as long again as its task does (and 400 bytes).

    Args:
        expire: called with a run that is still in progress at its deadline.
    """

    def __init__(self, expire: Callable[[Run], object]) -> None:
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._due: dict[Run, float] = {}
        # It may fire before the first deadline, because runs end, but never after it.
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
        passed = [run for run, due in self._due.items() if due <= now]
        for run in passed:
            del self._due[run]
        if self._due:
            self._set_timer(max(min(self._due.values()), now + TOGETHER_S))
        for run in passed:
            self._expire(run)
