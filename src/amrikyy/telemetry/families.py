"""Metrics with labels. Counts are added up here, and handed to the client library when metrics are read.

The library takes a lock and checks its arguments each time, which for the dozen values of a call is a twentieth of its
time, and more where several processes count into files. So the counts of a process are in its file once it is asked
itself, and at the latest two seconds after they were counted. Only the event loop may count and hand over, so that
nothing is lost.
"""

from bisect import bisect_left
from typing import Any

from prometheus_client.metrics import Counter, Gauge, Histogram, MetricWrapperBase


class Family:
    """A metric, with a value for each set of label values, given in the order in which its labels were declared."""

    __slots__ = ("_children", "metric")

    def __init__(self, metric: MetricWrapperBase) -> None:
        self.metric = metric
        self._children: dict[tuple[str, ...], Any] = {}
        if not metric._labelnames:
            self._child(())

    def value(self, *labels: str) -> float:
        """The value of a counter or gauge with these label values in this process."""
        self.hand_over()
        return float(self._child(labels)._value.get())

    def hand_over(self) -> None:
        """Hand the counts to the library."""

    def zero(self) -> None:
        """Start again from zero. The children stay: with several processes their values are in shared files."""

    def _child(self, labels: tuple[str, ...]) -> Any:
        """The library's child, cached because a lookup costs more than counting."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self.metric.labels(*labels) if labels else self.metric
        return child


class GaugeFamily(Family):
    """A gauge with labels."""

    __slots__ = ()

    def __call__(self, *labels: str) -> Gauge:
        """The gauge with these label values."""
        gauge: Gauge = self._child(labels)
        return gauge


class CounterFamily(Family):
    """A counter with labels."""

    __slots__ = ("_added",)

    def __init__(self, metric: Counter) -> None:
        super().__init__(metric)
        self._added: dict[tuple[str, ...], list[float]] = {}
        """By label values: a list of one number, the sum since the last hand-over."""

    def inc(self, *labels: str, by: float = 1) -> None:
        """Add to the counter with these label values. Adding 0 exposes it before anything has happened.

        Raises:
            ValueError: it has other labels, or would count down.
        """
        if by < 0:
            raise ValueError(f"a counter only counts up, and not by {by}")
        added = self._added.get(labels)
        if added is None:
            self._child(labels)
            added = self._added[labels] = [0.0]
        added[0] += by

    def hand_over(self) -> None:
        """Hand the counts to the library."""
        while self._added:  # removed first: a count that the library rejects must not be handed over again and again
            labels, (added,) = self._added.popitem()
            self._children[labels].inc(added)

    def zero(self) -> None:
        """Start again from zero."""
        self.hand_over()
        for child in self._children.values():
            child.reset()


class HistogramFamily(Family):
    """A histogram with labels.

    Args:
        metric: the library's histogram.
        bounds: the upper bounds of its buckets; the last bucket has none.
    """

    __slots__ = ("_bounds", "_observed")

    def __init__(self, metric: Histogram, bounds: tuple[float, ...]) -> None:
        super().__init__(metric)
        self._bounds = bounds
        self._observed: dict[tuple[str, ...], list[float]] = {}
        """By label values: the count of each bucket, followed by the sum of the amounts."""

    def observe(self, amount: float, *labels: str) -> None:
        """Count an amount in the histogram with these label values.

        Raises:
            ValueError: it has other labels.
        """
        observed = self._observed.get(labels)
        if observed is None:
            self._child(labels)
            observed = self._observed[labels] = [0.0] * (len(self._bounds) + 2)
        observed[bisect_left(self._bounds, amount)] += 1
        observed[-1] += amount

    def hand_over(self) -> None:
        """Hand the counts to the library, in its `_buckets` and `_sum`, which its own `observe` writes to."""
        while self._observed:
            labels, observed = self._observed.popitem()
            child = self._children[labels]
            for value, added in zip((*child._buckets, child._sum), observed, strict=True):
                if added:
                    value.inc(added)

    def zero(self) -> None:
        """Start again from zero, for which the library has no public method."""
        self.hand_over()
        for child in self._children.values():
            for value in (*child._buckets, child._sum):
                value.set(0)
