"""The application: its resources, its layers in the order in which a request passes them, and its routes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from amrikyy.agents.registry import Registry, load_registry
from amrikyy.runtime import Runtime, open_runtime
from amrikyy.settings import Settings
from amrikyy.telemetry.logs import AccessLog
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Tracer
from amrikyy.web.admission import admit
from amrikyy.web.agents import agent_endpoints
from amrikyy.web.ask import ask_endpoints
from amrikyy.web.audit import AUDIT
from amrikyy.web.auth import AUTH
from amrikyy.web.budgets import BUDGETS
from amrikyy.web.cache import cache_endpoints
from amrikyy.web.coordinator import coordinator_endpoints
from amrikyy.web.definitions import DEFINITIONS
from amrikyy.web.docs import docs_endpoints
from amrikyy.web.endpoint import PUBLIC, Endpoint, Routes
from amrikyy.web.health import health_endpoints
from amrikyy.web.keys import KEYS
from amrikyy.web.layers import AnswerErrors, Authenticate, Observe
from amrikyy.web.management import management_endpoints
from amrikyy.web.metrics import metrics_endpoints
from amrikyy.web.runs import RUNS
from amrikyy.web.stream import stream_endpoints
from amrikyy.web.traces import trace_endpoints
from amrikyy.web.usage import USAGE
from amrikyy.web.users import USERS

EXPOSED_HEADERS = (
    "x-request-id",
    "x-run-id",
    "x-cache",
    "x-trace-id",
    "location",
    "preference-applied",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    "server-timing",
)
"""The response headers that a browser exposes to a page of another origin."""

OnReady = Callable[[Runtime], None]


def endpoints_of(registry: Registry, *, metrics_public: bool = False) -> list[Endpoint]:
    """Every route of the server."""
    endpoints = [
        *health_endpoints(),
        *metrics_endpoints(public=metrics_public),
        *AUTH,
        *USERS,
        *KEYS,
        *AUDIT,
        *agent_endpoints(registry),
        *ask_endpoints(registry),
        *cache_endpoints(registry),
        *management_endpoints(registry),
        *trace_endpoints(registry),
        *stream_endpoints(registry),
        *coordinator_endpoints(registry),
        *DEFINITIONS,
        *RUNS,
        *USAGE,
        *BUDGETS,
    ]
    return [*endpoints, *docs_endpoints(endpoints)]


def create_app(settings: Settings, *, on_ready: OnReady | None = None) -> "Application":
    """The ASGI application. Its lifespan opens everything that has a lifetime, and closes it in reverse order.

    Raises:
        ValueError: an agent of AGENTS cannot be loaded.
    """
    return Application(settings, load_registry(settings.agents), on_ready)


class Application:
    """The layers around the routes, and the lifespan."""

    def __init__(self, settings: Settings, registry: Registry, on_ready: OnReady | None = None) -> None:
        self._settings = settings
        self._registry = registry
        self._on_ready = on_ready
        self._runtime: Runtime | None = None
        self._access_log = AccessLog(json=settings.production, enabled=settings.least_logged in ("debug", "info"))
        self.metrics = Metrics()
        self._tracer = Tracer(
            settings.otel_traces_sampler_arg,
            per_second=settings.traces_per_second,
            keeps_all=settings.otel_exporter_otlp_endpoint is not None,
        )
        self.endpoints = endpoints_of(registry, metrics_public=settings.metrics_public)
        public = frozenset((each.method, each.path) for each in self.endpoints if each.needs == PUBLIC)
        public |= {("HEAD", path) for method, path in public if method == "GET"}
        or_lately = frozenset((each.method, each.path) for each in self.endpoints if each.or_lately)

        # Methods, for an object that is called has its own looked up each time.
        app: ASGIApp = Routes(self.endpoints, admit).__call__
        app = Authenticate(app, public, or_lately).__call__
        app = AnswerErrors(app).__call__
        if settings.allowed_origins:
            app = _Cors(app, **_cors(settings)).__call__
        self.http: ASGIApp = Observe(app, self._opened, self._access_log, self.metrics, self._tracer)
        """The layers without the lifespan, for a server that enters the lifespan itself."""

    async def drain(self) -> None:
        """Refuse new runs, and let those in progress finish within DRAIN_TIMEOUT_S."""
        await self.runtime.drain()

    def flush_access_log(self) -> None:
        """Write the access lines that are buffered."""
        self._access_log.flush()

    @property
    def runtime(self) -> Runtime:
        """The runtime that the lifespan has opened."""
        return self._opened()

    def _opened(self) -> Runtime:
        assert self._runtime is not None, "requests come only while the lifespan is open"
        return self._runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI scope."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(self.lifespan, receive, send)
        else:
            await self.http(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Open the runtime, serve, close it."""
        async with open_runtime(self._settings, self._registry, self.metrics, self._tracer) as runtime:
            self._runtime = runtime
            if self._on_ready is not None:
                self._on_ready(runtime)
            try:
                yield
            finally:
                self._runtime = None
                self._access_log.flush()


class _Cors(CORSMiddleware):
    """Starlette's middleware, skipped for requests that are not from a web page, which most are not."""

    # Starlette's is a coroutine function; this one returns an awaitable, which saves a coroutine.
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        if scope["type"] == "http" and b"origin" in scope["exchange"].headers:
            return super().__call__(scope, receive, send)
        return self.app(scope, receive, send)


def _cors(settings: Settings) -> dict[str, Any]:
    anywhere = "*" in settings.allowed_origins
    return {
        "allow_origins": settings.allowed_origins,
        "allow_methods": ("GET", "POST", "PATCH", "DELETE"),
        "allow_headers": ("authorization", "content-type", "x-api-key", "x-request-id", "idempotency-key",
                          "last-event-id", "prefer", "cache-control", "traceparent"),
        "allow_credentials": not anywhere,
        "expose_headers": EXPOSED_HEADERS,
        "max_age": 600,
    }  # fmt: skip


async def _serve_lifespan(
    lifespan: Callable[[], AbstractAsyncContextManager[None]], receive: Receive, send: Send
) -> None:
    """Run ASGI 3's lifespan protocol around a context manager."""
    await receive()
    context = lifespan()
    try:
        await context.__aenter__()
    except BaseException as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await context.__aexit__(None, None, None)
    await send({"type": "lifespan.shutdown.complete"})
