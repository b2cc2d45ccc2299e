"""`/api/agents/{agent}/…`: statistics and health of agents, and resetting their counters."""

from datetime import UTC, datetime
from typing import Any, Literal

from starlette.responses import Response

from amrikyy.agents.agent import Agent
from amrikyy.agents.registry import Registry
from amrikyy.agents.tally import Health
from amrikyy.auth import Act
from amrikyy.auth.roles import Permission
from amrikyy.errors import NotFound, Unavailable
from amrikyy.runs.statistics import Statistics
from amrikyy.runtime import Runtime
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.management_replies import (
    AgentHealthInfo,
    AgentHealthReply,
    AgentMetricsInfo,
    AgentMetricsReply,
    AgentOverview,
    AgentStatusInfo,
    AgentStatusReply,
    CacheCheck,
    CacheUse,
    Checks,
    Circuit,
    Costs,
    ErrorHandlerCheck,
    Errors,
    OverviewReply,
    Performance,
    Stats,
    StatsReset,
    Streaming,
    StreamingCheck,
    Tracing,
    TracingCheck,
)
from amrikyy.web.replies import dollars


def management_endpoints(registry: Registry) -> list[Endpoint]:
    """The routes of this module."""

    async def overview(call: Call) -> Answer:
        runtime = call.runtime
        statistics = await _statistics(runtime, [agent.name for agent in registry])
        return OverviewReply(
            overview=[
                AgentOverview(
                    name=agent.name,
                    stats=_stats(runtime, agent.name, statistics[agent.name]),
                    uptime=int(runtime.uptime_s),
                )
                for agent in registry
            ]
        )

    async def health(call: Call) -> Answer:
        agent = registry[call.params["agent"]]
        info = _health(call.runtime, agent)
        reply = AgentHealthReply(success=info.status == "healthy", health=info)
        status = 200 if info.status == "healthy" else 503
        return Response(reply.model_dump_json(by_alias=True), status, media_type="application/json")

    async def status(call: Call) -> Answer:
        agent, runtime = registry[call.params["agent"]], call.runtime
        statistics = await _statistics(runtime, [agent.name])
        return AgentStatusReply(
            status=AgentStatusInfo(
                agent=agent.name,
                registered_at=registry.registered_at[agent.name],
                uptime=int(runtime.uptime_s),
                metadata=agent.metadata,
                capabilities=list(agent.capabilities),
                statistics=_stats(runtime, agent.name, statistics[agent.name]),
            )
        )

    async def metrics(call: Call) -> Answer:
        agent, runtime = registry[call.params["agent"]], call.runtime
        statistics = (await _statistics(runtime, [agent.name]))[agent.name]
        stats = _stats(runtime, agent.name, statistics)
        return AgentMetricsReply(
            metrics=AgentMetricsInfo(
                agent=agent.name,
                timestamp=datetime.now(UTC),
                since=statistics.since,
                errors=stats.errors,
                cache=stats.cache,
                performance=Performance(
                    total_calls=statistics.runs,
                    average_ms=statistics.average_ms,
                    p50_ms=statistics.percentile_ms(0.5),
                    p95_ms=statistics.percentile_ms(0.95),
                    p99_ms=statistics.percentile_ms(0.99),
                ),
                costs=Costs(
                    input_tokens=statistics.input_tokens,
                    output_tokens=statistics.output_tokens,
                    cost_usd=dollars(statistics.cost_usd),
                    unpriced=statistics.unpriced,
                ),
                streaming=stats.streaming,
            )
        )

    async def reset(call: Call) -> Answer:
        agent = registry[call.params["agent"]]
        await call.runtime.records.flush()
        await call.runtime.statistics.reset(agent.name, Act(call.actor, "stats.reset", agent.name))
        return StatsReset(reset=True, message=f"The statistics of {agent.name} were reset; the ledger is unchanged.")

    def endpoint(method: str, path: str, handler: Any, needs: Permission, summary: str, **rest: Any) -> Endpoint:
        errors = (NotFound, Unavailable) if "{" in path else (Unavailable,)
        return Endpoint(method=method, path=f"/api/agents/{path}", handler=handler, needs=needs, tag="Agents",
                        summary=summary, errors=errors, **rest)  # fmt: skip

    read, see, manage = Permission.AGENT_READ, Permission.AGENT_STATS, Permission.AGENT_MANAGE
    return [
        endpoint("GET", "overview", overview, read, "Overview with statistics", answer=OverviewReply),
        endpoint("GET", "{agent}/health", health, read, "Agent-specific health check", answer=AgentHealthReply,
                 also={503: ("The agent is degraded or unhealthy.", AgentHealthReply)}),
        endpoint("GET", "{agent}/status", status, read, "Detailed agent status", answer=AgentStatusReply),
        endpoint("GET", "{agent}/metrics", metrics, see, "Agent performance metrics", answer=AgentMetricsReply),
        endpoint("POST", "{agent}/stats/reset", reset, manage, "Reset an agent's statistics", answer=StatsReset),
    ]  # fmt: skip


async def _statistics(runtime: Runtime, agents: list[str]) -> dict[str, Statistics]:
    await runtime.records.flush()
    return await runtime.statistics.by_agent(agents)


def _stats(runtime: Runtime, agent: str, statistics: Statistics) -> Stats:
    return Stats(
        errors=Errors(
            total=statistics.failed,
            rate=statistics.error_rate,
            recent_rate=runtime.runner.tally(agent).error_rate,
            cancelled=statistics.cancelled,
        ),
        cache=CacheUse(
            hits=statistics.cached,
            hit_rate=round(100 * statistics.cached / statistics.runs, 2) if statistics.runs else 0.0,
        ),
        tracing=Tracing(
            enabled=runtime.tracer.enabled,
            sampled=runtime.tracer.ratio,
            per_second=runtime.tracer.per_second,
            exports=[exporter.name for exporter in runtime.traces.exporters],
        ),
        streaming=Streaming(total=statistics.streamed, active=_active_streams(runtime, agent)),
    )


def _health(runtime: Runtime, agent: Agent) -> AgentHealthInfo:
    tally, slots = runtime.runner.tally(agent.name), runtime.runner.slots
    circuit = _circuit(runtime)
    # An agent whose only model is cut off can do nothing; with one of several cut off it is degraded.
    is_cut_off = all(breaker.state == "open" for breaker in runtime.models.breakers.values())
    handler: Health = "unhealthy" if is_cut_off else "degraded" if circuit == "open" else "healthy"
    if tally.health == "unhealthy" or handler == "healthy":
        handler = tally.health
    streaming: Health = "degraded" if slots.waiting else "healthy"
    words: list[Health] = [handler, streaming]
    return AgentHealthInfo(
        agent=agent.name,
        status=next((word for word in ("unhealthy", "degraded") if word in words), "healthy"),
        timestamp=datetime.now(UTC),
        uptime=int(runtime.uptime_s),
        checks=Checks(
            error_handler=ErrorHandlerCheck(
                status=handler, circuit_breaker=circuit, success_rate=100 - tally.error_rate
            ),
            cache=CacheCheck(
                status="healthy",
                entries=len(runtime.cache.memory),
                hit_rate=round(100 * runtime.cache.stats[agent.name].hit_rate, 2),
            ),
            tracing=_tracing(runtime),
            streaming=StreamingCheck(
                status=streaming, active=_active_streams(runtime, agent.name), queued=slots.waiting
            ),
        ),
    )


def _tracing(runtime: Runtime) -> TracingCheck:
    failing = runtime.traces.failing
    status: Literal["healthy", "degraded", "not_configured"] = "degraded" if failing else "healthy"
    if not runtime.tracer.enabled:
        status = "not_configured"
    return TracingCheck(status=status, sampled=runtime.tracer.ratio, failing=failing)


def _circuit(runtime: Runtime) -> Circuit:
    states = {breaker.state for breaker in runtime.models.breakers.values()}
    return "open" if "open" in states else "half-open" if "half-open" in states else "closed"


def _active_streams(runtime: Runtime, agent: str) -> int:
    return sum(run.readers for run in runtime.live.running() if run.agent == agent)
