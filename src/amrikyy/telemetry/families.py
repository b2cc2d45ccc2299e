"""Metrics with labels. What is counted is added up here, and handed to the library when somebody looks.

The library takes a lock and checks its arguments each time, which for the dozen values of a call is a twentieth of it;
where several processes count into files it takes longer still. So what each of them has counted is in its file when it
is asked itself, and at the latest two seconds after it was counted. Only the event loop may count and hand over; then
nothing is lost.
"""

from bisect import bisect_left
from typing import Any

from prometheus_client.metrics import Counter, Gauge, Histogram, MetricWrapperBase


class Family:
    """A metric, and what it has for each set of label values, in the order in which its labels were declared."""

    __slots__ = ("_children", "metric")

    def __init__(self, metric: MetricWrapperBase) -> None:
        self.metric = metric
        self._children: dict[tuple[str, ...], Any] = {}
        if not metric._labelnames:
            self._child(())

    def value(self, *labels: str) -> float:
        """What a counter or a gauge with these label values has come to in this process."""
        self.hand_over()
        return float(self._child(labels)._value.get())

    def hand_over(self) -> None:
        """Let the library have what was counted."""

    def zero(self) -> None:
        """Begin anew. The children stay: in several processes their values are in shared files."""

    def _child(self, labels: tuple[str, ...]) -> Any:
        """The library's, kept, because looking one up costs more than counting."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self.metric.labels(*labels) if labels else self.metric
        return child


class GaugeFamily(Family):
    """Says how things are."""

    __slots__ = ()

    def __call__(self, *labels: str) -> Gauge:
        """The gauge with these label values."""
        gauge: Gauge = self._child(labels)
        return gauge


class CounterFamily(Family):
    """Counts."""

    __slots__ = ("_added",)

    def __init__(self, metric: Counter) -> None:
        super().__init__(metric)
        self._added: dict[tuple[str, ...], list[float]] = {}
        """By label values: the one number that was added up."""

    def inc(self, *labels: str, by: float = 1) -> None:
        """Add to the counter with these label values. By 0 it is shown before anything has happened.

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
        """Let the library have what was counted."""
        while self._added:  # taken out first: what cannot be handed over must not count again and again
            labels, (added,) = self._added.popitem()
            self._children[labels].inc(added)

    def zero(self) -> None:
        """Begin anew."""
        self.hand_over()
        for child in self._children.values():
            child.reset()


class HistogramFamily(Family):
    """Counts in buckets.

    Args:
        metric: the library's.
        bounds: upper ones of its buckets; the last bucket has none.
    """

    __slots__ = ("_bounds", "_observed")

    def __init__(self, metric: Histogram, bounds: tuple[float, ...]) -> None:
        super().__init__(metric)
        self._bounds = bounds
        self._observed: dict[tuple[str, ...], list[float]] = {}
        """By label values: how many are in each bucket, and then their sum."""

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
        """Let the library have what was counted: its `_buckets` and `_sum` are what its own `observe` writes."""
        while self._observed:
            labels, observed = self._observed.popitem()
            child = self._children[labels]
            for value, added in zip((*child._buckets, child._sum), observed, strict=True):
                if added:
                    value.inc(added)

    def zero(self) -> None:
        """Begin anew. The library has no public way."""
        self.hand_over()
        for child in self._children.values():
            for value in (*child._buckets, child._sum):
                value.set(0)
