"""The replies of `/api/agents/{agent}/…` about how agents are doing."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from amrikyy.agents.tally import Health
from amrikyy.web.replies import Success, Wire

Circuit = Literal["closed", "half-open", "open"]


class Errors(Wire):
    """How often runs failed in all processes, since the start or the last reset."""

    total: int
    rate: float = Field(description="Percent of runs.")
    recent_rate: int = Field(description="Percent of the runs of the last ten minutes in this process.")
    cancelled: int


class CacheUse(Wire):
    """What did not have to be asked of a model."""

    hits: int = Field(description="Runs that were answered from the cache or joined another's execution.")
    hit_rate: float = Field(description="Percent of runs.")


class Performance(Wire):
    """How long runs took."""

    total_calls: int
    average_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Costs(Wire):
    """What the models used and cost."""

    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced: int = Field(description="Runs with a call whose price is not known.")


class Streaming(Wire):
    """Streams."""

    total: int
    active: int = Field(description="How many are open in this process now.")


class Tracing(Wire):
    """Traces."""

    enabled: bool
    sampled: float = Field(description="The share of requests that are traced, 0 to 1 (OTEL_TRACES_SAMPLER_ARG).")
    per_second: int = Field(description="The most requests that a process traces in a second (TRACES_PER_SECOND).")
    exports: list[str] = Field(description="Where traces are also sent: `langsmith`, `otlp`.")


class Stats(Wire):
    """An agent in a few numbers."""

    errors: Errors
    cache: CacheUse
    tracing: Tracing
    streaming: Streaming


class AgentOverview(Wire):
    """An agent in the overview."""

    name: str
    stats: Stats
    uptime: int


class OverviewReply(Success):
    """All agents with their statistics."""

    overview: list[AgentOverview]


class ErrorHandlerCheck(Wire):
    """An agent's health, judged by its errors."""

    status: Health
    circuit_breaker: Circuit = Field(description="The worst state of the models' circuit breakers.")
    success_rate: float = Field(description="Percent of the runs of the last ten minutes in this process.")


class CacheCheck(Wire):
    """The cache."""

    status: Health
    entries: int
    hit_rate: float


class TracingCheck(Wire):
    """Tracing. When it fails, agents still work."""

    status: Literal["healthy", "degraded", "not_configured"] = Field(
        description="`degraded` means that traces cannot be stored or sent now; those that exceed the buffer are lost."
    )
    sampled: float = Field(description="The share of requests that are traced, 0 to 1.")
    failing: list[str] = Field(description="What cannot be reached: `database`, `langsmith`, `otlp`.")


class StreamingCheck(Wire):
    """Streams."""

    status: Health
    active: int
    queued: int


class Checks(Wire):
    """What an agent depends on."""

    error_handler: ErrorHandlerCheck
    cache: CacheCheck
    tracing: TracingCheck
    streaming: StreamingCheck


class AgentHealthInfo(Wire):
    """Whether an agent works."""

    agent: str
    status: Health
    timestamp: datetime
    uptime: int
    checks: Checks


class AgentHealthReply(Success):
    """One agent's health."""

    success: bool = True  # type: ignore[assignment]  # the same body says that it is not healthy
    health: AgentHealthInfo


class AgentStatusInfo(Wire):
    """An agent's declaration and statistics."""

    agent: str
    registered_at: datetime
    uptime: int
    metadata: dict[str, str]
    capabilities: list[str]
    statistics: Stats


class AgentStatusReply(Success):
    """One agent's status."""

    status: AgentStatusInfo


class AgentMetricsInfo(Wire):
    """An agent's numbers."""

    agent: str
    timestamp: datetime
    since: datetime | None = Field(description="The hour of the first run that is counted.")
    errors: Errors
    cache: CacheUse
    performance: Performance
    costs: Costs
    streaming: Streaming


class AgentMetricsReply(Success):
    """One agent's metrics."""

    metrics: AgentMetricsInfo


class StatsReset(Success):
    """The counters start again from zero."""

    reset: bool
    message: str
