"""`/api`, `/api/health` and `/api/status`: whether the server works, for probes, load balancers and people."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SerializeAsAny
from starlette.responses import Response

from amrikyy import __version__
from amrikyy.errors import AmrikyyError
from amrikyy.ratelimit import Limiter
from amrikyy.runtime import Runtime
from amrikyy.telemetry.process import resident_bytes
from amrikyy.web.endpoint import PUBLIC, Answer, Call, Endpoint
from amrikyy.web.replies import Wire

CHECK_TIMEOUT_S = 3.0
"""A check that takes longer reports "unhealthy", so that a probe does not wait for a dead dependency."""

if TYPE_CHECKING:
    from amrikyy.redis_link import RedisLink

FRESH_S = 3.0
"""Seconds for which an answer is reused, so that many probes cause one check."""

Word = Literal["healthy", "degraded", "unhealthy", "not_configured"]


class Component(Wire):
    """A dependency of the server."""

    status: Word
    latency: float | None = Field(default=None, description="Milliseconds that the check took.")
    message: str | None = None


class AgentHealth(Wire):
    """One agent's runs since the process started."""

    status: Word
    total_calls: int
    error_rate: int = Field(description="Percent of the calls.")


class AgentsComponent(Wire):
    """All agents together."""

    status: Word
    agents: dict[str, AgentHealth]
    summary: dict[str, int]


class Health(Wire):
    """The result of the comprehensive check."""

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: datetime
    uptime: int = Field(description="Seconds.")
    components: dict[str, SerializeAsAny[Component | AgentsComponent]]
    version: str
    phase: Literal[2] = 2


class Alive(Wire):
    """The process answers."""

    status: Literal["alive"] = "alive"
    timestamp: datetime


class Ready(Wire):
    """The server takes requests, or says why not."""

    status: Literal["ready", "not_ready"]
    reason: str | None = Field(default=None, exclude_if=lambda reason: reason is None)
    timestamp: datetime


class Memory(Wire):
    """Memory of this process and of the machine."""

    used: float
    total: float
    unit: Literal["MB"] = "MB"


class Status(Wire):
    """The lightweight status."""

    service: str
    version: str
    phase: Literal[2] = 2
    environment: str
    ready: bool
    uptime: int = Field(description="Seconds.")
    memory: Memory
    timestamp: datetime


class Service(Wire):
    """What this server is, and where its documentation is."""

    service: str
    version: str
    phase: Literal[2] = 2
    status: str
    timestamp: datetime
    features: list[str]
    endpoints: dict[str, str]


class HealthChecks:
    """Runs all checks concurrently, each with its own timeout. One round at a time; its result is reused briefly."""

    def __init__(self) -> None:
        self._round: asyncio.Task[dict[str, Component]] | None = None
        self._began = 0.0

    async def components(self, runtime: Runtime) -> dict[str, Component]:
        """The state of the dependencies, at most `FRESH_S` old."""
        now = time.monotonic()
        if self._round is None or (self._round.done() and now - self._began > FRESH_S):
            self._began = now
            self._round = asyncio.get_running_loop().create_task(_check_all(runtime))
        return await asyncio.shield(self._round)


async def _check_all(runtime: Runtime) -> dict[str, Component]:
    checks: dict[str, Awaitable[Component]] = {"database": _check_database(runtime)}
    if runtime.supabase is not None:
        checks["supabase"] = _timed(runtime.supabase.ping, "Supabase Auth operational")
    for client in runtime.models.clients:
        provider = client.name.partition(":")[0]
        name = provider if provider not in checks else client.name
        label = {"gemini": "Gemini API", "openai": "OpenAI API", "ollama": "Ollama"}.get(provider, client.name)
        if provider == "offline":
            label = "The built-in offline model, which is not an AI, is"
        checks[name] = _timed(client.ping, f"{label} operational")
    results = await asyncio.gather(*checks.values())
    found = dict(zip(checks, results, strict=True))
    if runtime.redis is not None:
        redis = await _check_redis(runtime.redis, runtime.limits.limiter)
    else:
        redis = Component(status="not_configured", message="REDIS_URL is not set: this process works alone.")
    no_gemini = Component(status="not_configured", message="No Gemini model is configured.")
    return {"redis": redis, "database": found.pop("database"), "gemini": found.pop("gemini", no_gemini), **found}


async def _check_redis(link: "RedisLink", limiter: Limiter) -> Component:
    async def ping() -> None:
        await link.ping()

    component = await _timed(ping, "Redis operational")
    if component.status == "unhealthy":
        # The server works without Redis: each process counts limits alone until it is back.
        component.status = "degraded"
        component.message = f"Redis is away ({link.state.reason}): each process counts its share in memory."
    elif limiter.counts_in == "memory":
        component.status = "degraded"
        component.message = "Redis answers, but is not used for limits: each process counts its share in memory."
    return component


async def _check_database(runtime: Runtime) -> Component:
    component = await _timed(runtime.database.ping, f"{runtime.database.product} operational")
    waiting = runtime.records.waiting
    if component.status == "unhealthy":
        if waiting:
            component.message = f"{component.message} {waiting} runs are waiting to be recorded."
    elif runtime.records.failing or not runtime.database.takes_writes:
        component.status = "degraded"
        component.message = (
            f"{runtime.database.product} answers, but cannot be written: {waiting} runs are waiting to be recorded. "
            "The log says why (database_unavailable)."
        )
    elif (damage := await runtime.workflows.damage()) is not None:
        component.status, component.message = "degraded", damage
    return component


async def _timed(ping: Callable[[], Awaitable[None]], well: str) -> Component:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await ping()
    except TimeoutError:
        return Component(status="unhealthy", message=f"No answer within {CHECK_TIMEOUT_S:g} s.")
    except AmrikyyError as error:
        return Component(status="unhealthy", latency=_ms_since(began), message=error.message)
    return Component(status="healthy", latency=_ms_since(began), message=well)


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)


def _agents(runtime: Runtime) -> AgentsComponent:
    agents: dict[str, AgentHealth] = {}
    for agent in runtime.registry:
        tally = runtime.runner.tally(agent.name)
        agents[agent.name] = AgentHealth(status=tally.health, total_calls=tally.calls, error_rate=tally.error_rate)
    words = [agent.status for agent in agents.values()]
    summary = {"total": len(words)} | {word: words.count(word) for word in ("healthy", "degraded", "unhealthy")}
    return AgentsComponent(status=_worst(words), agents=agents, summary=summary)


def _worst(words: list[Word]) -> Word:
    return next((word for word in ("unhealthy", "degraded") if word in words), "healthy")


async def live(_: Call) -> Answer:
    """Answer that the process is alive."""
    return Alive(timestamp=datetime.now(UTC))


async def status(call: Call) -> Answer:
    """Describe this process, without checking anything else."""
    runtime = call.runtime
    return Status(
        service="amrikyy-agent",
        version=__version__,
        environment=runtime.settings.app_env,
        ready=runtime.not_ready is None,
        uptime=int(runtime.uptime_s),
        memory=_memory(),
        timestamp=datetime.now(UTC),
    )


async def service(call: Call) -> Answer:
    """Describe this server and where its documentation is."""
    runtime = call.runtime
    return Service(
        service="amrikyy-agent",
        version=__version__,
        status="operational" if runtime.not_ready is None else "not_ready",
        timestamp=datetime.now(UTC),
        features=[name for name, on in runtime.features() if on],
        endpoints={
            "docs": "/api/docs",
            "openapi": "/api/openapi.json",
            "health": "/api/health",
            "status": "/api/status",
            "login": "/api/auth/login",
            "agents": "/api/agents/list",
            "run": "/api/agents/{agent}/{operation}",
            "stream": "/api/stream/{agent}/{operation}",
            "coordinator": "/api/coordinator",
            "runs": "/api/runs",
            "metrics": "/api/metrics",
        },
    )


def _memory() -> Memory:
    used = resident_bytes()
    try:
        with open("/proc/meminfo", "rb") as meminfo:  # noqa: PTH123 - the kernel answers from memory
            total = int(meminfo.readline().split()[1]) * 1024
    except OSError:  # not Linux
        total = used
    return Memory(used=round(used / 1024**2, 1), total=round(total / 1024**2, 1))


def health_endpoints() -> list[Endpoint]:
    """The routes of this module, which share their rounds of checks."""
    checks = HealthChecks()

    async def health(call: Call) -> Answer:
        """Every component's health. The status is 503 only without the database or without any model."""
        runtime = call.runtime
        components: dict[str, Any] = dict(await checks.components(runtime))
        models = [
            c
            for name, c in components.items()
            if name not in ("redis", "database", "supabase") and c.status != "not_configured"
        ]
        useless = components["database"].status == "unhealthy" or all(c.status == "unhealthy" for c in models)
        components["agents"] = _agents(runtime)
        any_trouble = _worst([component.status for component in components.values()]) != "healthy"
        body = Health(
            status="unhealthy" if useless else "degraded" if any_trouble else "healthy",
            timestamp=datetime.now(UTC),
            uptime=int(runtime.uptime_s),
            components={name: components[name] for name in ("redis", "database", "gemini", "agents")}
            | {name: component for name, component in components.items() if name not in ("redis", "gemini")},
            version=__version__,
        )
        text = body.model_dump_json(by_alias=True, exclude_none=True)
        return Response(text, 503 if useless else 200, media_type="application/json")

    async def ready(call: Call) -> Answer:
        """Whether a load balancer should send requests here."""
        reason = call.runtime.not_ready
        if reason is None:
            database = (await checks.components(call.runtime))["database"]
            reason = f"The database is unavailable: {database.message}" if database.status == "unhealthy" else None
        body = Ready(status="not_ready" if reason else "ready", reason=reason, timestamp=datetime.now(UTC))
        return Response(body.model_dump_json(), 503 if reason else 200, media_type="application/json")

    return [
        Endpoint(method="GET", path="/api", handler=service, needs=PUBLIC, tag="Health", summary="What this server is",
                 answer=Service),
        Endpoint(method="GET", path="/api/health", handler=health, needs=PUBLIC, unlimited=True, tag="Health",
                 summary="Comprehensive health check of all components", answer=Health,
                 also={503: ("The server can do nothing: no database, or no model.", Health)}),
        Endpoint(method="GET", path="/api/health/live", handler=live, needs=PUBLIC, unlimited=True, tag="Health",
                 summary="Liveness probe", answer=Alive),
        Endpoint(method="GET", path="/api/health/ready", handler=ready, needs=PUBLIC, unlimited=True, tag="Health",
                 summary="Readiness probe", answer=Ready,
                 also={503: ("Requests should go elsewhere; `reason` says why.", Ready)}),
        Endpoint(method="GET", path="/api/status", handler=status, needs=PUBLIC, unlimited=True, tag="Health",
                 summary="Lightweight status", answer=Status),
    ]  # fmt: skip
