"""Metrics with labels: counted here, and handed to the library when somebody looks."""

from collections.abc import Callable

import pytest

from amrikyy.agents.registry import load_registry
from amrikyy.runtime import open_runtime
from amrikyy.telemetry.metrics import Metrics
from tests.serving import MakeSettings


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


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_was_counted_last_is_there_when_the_server_has_stopped(make_settings: MakeSettings) -> None:
    metrics = Metrics()
    async with open_runtime(make_settings(), load_registry(), metrics):
        metrics.limit_hits.inc("global")
    assert metrics.registry.get_sample_value("rate_limit_hits_total", {"limit": "global"}) == 1
