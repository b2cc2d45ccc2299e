"""How an agent's recent runs in this process ended, by which its health is judged."""

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

WINDOW_S = 600
"""Seconds; what happened earlier says nothing about now."""

SLICE_S = 10

MIN_CALLS = 5
"""The fewest runs that are judged: with one run, a single failure would be 100 %."""

DEGRADED, UNHEALTHY = 20, 50
"""The percentage of failed runs above which an agent is called degraded, or unhealthy."""

Health = Literal["healthy", "degraded", "unhealthy"]


class Tally:
    """Counts runs and failures, in total and over the last ten minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.calls = 0
        self.failures = 0
        self._clock = clock
        self._slices: deque[list[int]] = deque()  # [number of the slice, calls, failures]

    def count(self, *, failed: bool) -> None:
        """Count a run that has ended. The caller's mistakes and cancellations are not failures."""
        self.calls += 1
        self.failures += failed
        now = int(self._clock() // SLICE_S)
        if not self._slices or self._slices[-1][0] != now:
            self._slices.append([now, 0, 0])
            self._forget(now)
        self._slices[-1][1] += 1
        self._slices[-1][2] += failed

    @property
    def recent(self) -> tuple[int, int]:
        """The runs and the failures of the last ten minutes."""
        self._forget(int(self._clock() // SLICE_S))
        return sum(each[1] for each in self._slices), sum(each[2] for each in self._slices)

    @property
    def error_rate(self) -> int:
        """Failures of the last ten minutes, in percent."""
        calls, failures = self.recent
        return round(100 * failures / calls) if calls else 0

    @property
    def health(self) -> Health:
        """The agent's health, judged by the error rate."""
        if self.recent[0] < MIN_CALLS:
            return "healthy"
        rate = self.error_rate
        return "unhealthy" if rate > UNHEALTHY else "degraded" if rate > DEGRADED else "healthy"

    def _forget(self, now: int) -> None:
        while self._slices and self._slices[0][0] <= now - WINDOW_S // SLICE_S:
            self._slices.popleft()
