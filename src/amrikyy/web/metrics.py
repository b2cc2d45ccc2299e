"""`/api/metrics`: the metrics, for Prometheus and for dashboards."""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from pydantic import Field
from starlette.responses import Response

from amrikyy.auth import Act
from amrikyy.auth.roles import Permission
from amrikyy.web.endpoint import PUBLIC, Answer, Call, Endpoint, Needs
from amrikyy.web.replies import Success, Wire

P = ParamSpec("P")
T = TypeVar("T")

TURN_S = 0.001
"""How long the thread that renders metrics may hold the GIL before the event loop gets it; Python's 5 ms add up."""

_USUAL_TURN_S = sys.getswitchinterval()


class MetricValue(Wire):
    """One sample."""

    labels: dict[str, str]
    value: float | None = Field(description="Null where there is none, as for a Redis that is not configured.")
    metric_name: str | None = Field(
        default=None, exclude_if=lambda name: name is None, description="Of a part of a histogram."
    )


class Metric(Wire):
    """One metric with its samples."""

    name: str
    type: str
    help: str
    values: list[MetricValue]


class MetricsReply(Success):
    """All metrics."""

    timestamp: datetime
    metrics: list[Metric]


class MetricsReset(Success):
    """Counters and histograms begin anew."""

    reset: bool
    message: str


async def aside(render: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Render in a thread that often yields the GIL to the event loop: it is pure Python, and takes up to tens of ms."""
    sys.setswitchinterval(TURN_S)
    try:
        return await asyncio.to_thread(render, *arguments, **named)
    finally:
        sys.setswitchinterval(_USUAL_TURN_S)


async def prometheus(call: Call) -> Answer:
    """The text that Prometheus scrapes, rendered in a thread so that it blocks nothing."""
    call.runtime.sample()
    body, content_type = await aside(call.runtime.metrics.render, call.header(b"accept") or "")
    return Response(body, headers={"content-type": content_type})


async def as_json(call: Call) -> Answer:
    """The metrics as JSON."""
    call.runtime.sample()
    values: list[dict[str, Any]] = await aside(call.runtime.metrics.values)
    return MetricsReply(timestamp=datetime.now(UTC), metrics=[Metric.model_validate(value) for value in values])


async def reset(call: Call) -> Answer:
    """Zero counters and histograms."""
    await call.runtime.audit.record(Act(call.actor, "metrics.reset"))
    call.runtime.metrics.reset()
    return MetricsReset(
        reset=True, message="Counters and histograms of this server were reset; gauges still say how things are."
    )


def metrics_endpoints(*, public: bool) -> list[Endpoint]:
    """The routes of this module; reading is public with METRICS_PUBLIC."""
    needs: Needs = PUBLIC if public else Permission.AGENT_STATS
    return [
        Endpoint(method="GET", path="/api/metrics", handler=prometheus, needs=needs, unlimited=True, or_lately=True,
                 tag="Metrics", summary="Metrics for Prometheus", media_type="text/plain",
                 other_media_types=("application/openmetrics-text",),
                 description="OpenMetrics when `Accept` asks for it."),
        Endpoint(method="GET", path="/api/metrics/json", handler=as_json, needs=needs, unlimited=True, or_lately=True,
                 tag="Metrics", summary="Metrics as JSON, for dashboards", answer=MetricsReply),
        Endpoint(method="POST", path="/api/metrics/reset", handler=reset, needs=Permission.AGENT_MANAGE,
                 tag="Metrics", summary="Reset counters and histograms", answer=MetricsReset,
                 description="To Prometheus it looks like a restart, which `rate()` and `increase()` allow for; what "
                             "was counted since the last scrape is lost to it."),
    ]  # fmt: skip
