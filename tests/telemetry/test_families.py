"""Metrics with labels: counted here, and handed to the library when somebody looks."""

from collections.abc import Callable

import pytest

from amrikyy.telemetry.metrics import Metrics


@pytest.mark.parametrize(
    "wrong",
    [
        lambda metrics: metrics.limit_hits.inc("global", "too many"),
        lambda metrics: metrics.limit_hits.inc("global", by=-1),
        lambda metrics: metrics.http_seconds.observe(0.1, "too few"),
    ],
)
def test_a_wrong_count_is_refused_where_it_is_made_and_spoils_no_other(wrong: Callable[[Metrics], None]) -> None:
    metrics = Metrics()
    metrics.limit_hits.inc("global")
    with pytest.raises(ValueError, match=r"label|count"):
        wrong(metrics)
    assert metrics.limit_hits.value("global") == 1
    metrics.limit_hits.inc("global")
    assert metrics.limit_hits.value("global") == 2
