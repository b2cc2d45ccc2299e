"""What is counted between two looks at the metrics: added up here, and handed to the library when somebody looks.

The library takes a lock and checks its arguments each time, which for the dozen values of a call is a twentieth of it.
Only the event loop may count and hand over; then nothing is lost.
"""

from bisect import bisect_left
from typing import Protocol

from prometheus_client import Counter, Histogram


class Counts(Protocol):
    """A counter with its label values."""

    def inc(self, amount: float = 1) -> None:
        """Add to it."""
        ...


class Observes(Protocol):
    """A histogram with its label values."""

    def observe(self, amount: float) -> None:
        """Count a value in its bucket."""
        ...


class Sum:
    """What is added to a counter."""

    __slots__ = ("_added", "_counter")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._added = 0.0

    def inc(self, amount: float = 1) -> None:
        """See `Counts`."""
        self._added += amount

    def hand_over(self) -> None:
        """Give the counter what was added."""
        added, self._added = self._added, 0.0
        if added:
            self._counter.inc(added)


class Buckets:
    """What is counted in a histogram."""

    __slots__ = ("_bounds", "_counts", "_histogram", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._bounds: list[float] = histogram._upper_bounds
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        """See `Observes`."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def hand_over(self) -> None:
        """Give the histogram what was counted: `_buckets` and `_sum` are what its own `observe` writes."""
        if any(self._counts):
            for bucket, count in zip(self._histogram._buckets, self._counts, strict=True):
                if count:
                    bucket.inc(count)
            self._histogram._sum.inc(self._sum)
            self._counts = [0] * len(self._bounds)
            self._sum = 0.0
