"""The layers around every route, as plain ASGI middleware: all requests pass each of them, so each is short."""

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amrikyy.auth.principal import Principal
from amrikyy.errors import AmrikyyError, InternalError, Unauthenticated, ValidationFailed
from amrikyy.ratelimit.addresses import Networks, client_address
from amrikyy.telemetry.logs import AccessLog, timestamp
from amrikyy.telemetry.metrics import METHODS, NO_ROUTE, Metrics
from amrikyy.telemetry.spans import Tracer
from amrikyy.traces import Redactor
from amrikyy.web.connection import CONNECTION
from amrikyy.web.errors import error_response
from amrikyy.web.exchange import Exchange, exchange_of, new_request_id
from amrikyy.web.headers import NOT_STORED, SECURITY_HEADERS
from amrikyy.web.replies import dollars
from amrikyy.web.spans import describe_exchange

if TYPE_CHECKING:
    from amrikyy.runtime import Runtime

log = structlog.get_logger(__name__)

_redact = Redactor()

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._\-]{1,64}")
_ONCE = (b"host", b"authorization", b"x-api-key", b"content-type", b"idempotency-key", b"last-event-id")
"""Headers that have one value; of others, the first counts or all are a list."""

MAX_LOGGED_PATH = 200
"""The most characters of an unknown path in an access line, because callers control its length."""


class Observe:
    """The outermost layer: assigns the request id, adds standard headers, writes the access line, and counts."""

    def __init__(
        self, app: ASGIApp, runtime: Callable[[], "Runtime"], access_log: AccessLog, metrics: Metrics, tracer: Tracer
    ) -> None:
        self._app = app
        self._runtime = runtime
        self._access_log = access_log
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; other kinds of scope pass untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = self._begin(scope)
        request_id = exchange.request_id.encode()
        added = () if CONNECTION in scope else SECURITY_HEADERS  # our own server sends them itself

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                own = message.get("headers", ())
                message["headers"] = [
                    *own,
                    *added,
                    *exchange.extra_headers,
                    (b"x-request-id", request_id),
                    (b"server-timing", exchange.server_timing()),
                ]
                for name, _ in own:
                    if name == b"cache-control":
                        break
                else:
                    message["headers"].append(NOT_STORED)
                if exchange.cache is not None:
                    message["headers"].append((b"x-cache", exchange.cache.encode()))
                if exchange.traced and exchange.span is not None:
                    message["headers"].append((b"x-trace-id", exchange.span.trace_id.encode()))
            return send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            elapsed_ms = exchange.elapsed_ms
            self._write_line(scope, exchange, elapsed_ms)
            self._count(scope["method"], exchange, elapsed_ms)
            span, exchange.span = exchange.span, None
            if span is not None:
                if exchange.traced:
                    span.end(describe_exchange, (scope["method"], exchange))
                else:
                    span.discard()

    def _begin(self, scope: Scope) -> Exchange:
        headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        runtime = self._runtime()
        given = headers.get(b"x-request-id")
        request_id = new_request_id() if given is None else _well_formed(given) or new_request_id()
        exchange = Exchange(runtime, headers, request_id)
        exchange.address = _address(scope, runtime.limits.trusted_proxies)
        exchange.span = self._tracer.begin(headers.get(b"traceparent"))
        scope["exchange"] = exchange
        return exchange

    def _count(self, method: str, exchange: Exchange, elapsed_ms: float) -> None:
        method = method if method in METHODS else "other"
        route = exchange.route or NO_ROUTE
        # 499 is nginx's status for a client that disconnected before there was an answer.
        self._metrics.http_requests.inc(method, route, str(exchange.status or 499))
        self._metrics.http_seconds.observe(elapsed_ms / 1000, method, route)

    def _write_line(self, scope: Scope, exchange: Exchange, elapsed_ms: float) -> None:
        spent = exchange.run.spent if exchange.run is not None else None
        self._access_log.write(
            {
                "time": timestamp(),
                "event": "request",
                "request_id": exchange.request_id,
                "method": scope["method"][:16],
                "path": exchange.route or _printable(scope["path"]),
                "status": exchange.status,
                "code": exchange.failure,
                "ms": round(elapsed_ms * 100) / 100,
                "address": exchange.address,
                "caller": exchange.principal.id if exchange.principal else None,
                "run_id": exchange.run_id,
                "tokens": spent.total_tokens if spent is not None else None,
                "cost_usd": dollars(spent.cost_usd if spent is not None else exchange.cost_usd),
                "trace_id": exchange.span.trace_id if exchange.traced and exchange.span is not None else None,
            }
        )


class AnswerErrors:
    """Turns exceptions into the one JSON error body; an unexpected one is logged, and its body reveals nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; other kinds of scope pass untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            check_headers(scope, scope["exchange"].headers)
            await self._app(scope, receive, send)
            return
        except ClientDisconnect:
            return  # there is nobody left to answer
        except AmrikyyError as raised:
            error = raised.with_traceback(None)  # breaks a reference cycle through this frame
            error.__context__ = None  # and another, through the frame where its cause was raised
        except Exception:
            request_id = exchange_of(scope).request_id
            log.exception("request_failed", request_id=request_id, path=_printable(scope["path"]))
            error = InternalError("Something went wrong on our side. The log has the cause under this request's id.")
        exchange = exchange_of(scope)
        exchange.code = error.code
        if exchange.status is None:
            await error_response(error, exchange.request_id)(scope, receive, send)
        else:
            # The status has been sent already; aborting the connection is the only way left to signal the error.
            raise ConnectionError(f"the response of request {exchange.request_id} broke off: {error.code}")


class Authenticate:
    """Requires a valid credential for every request, whatever its path, method or body, except to public routes.

    For some routes it is enough that the credential was valid lately, if it cannot be checked.
    """

    def __init__(self, app: ASGIApp, public: frozenset[tuple[str, str]], or_lately: frozenset[tuple[str, str]]) -> None:
        self._app = app
        self._public = public
        self._or_lately = or_lately

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one HTTP request; other kinds of scope pass untouched. If the principal is cached, it returns the next
        layer's awaitable: a coroutine of its own would exist for as long as a stream."""
        if scope["type"] != "http" or (route := (scope["method"], scope["path"])) in self._public:
            return self._app(scope, receive, send)
        began = time.perf_counter()
        exchange: Exchange = scope["exchange"]
        authenticator = exchange.runtime.authenticator
        authorization, api_key = exchange.headers.get(b"authorization"), exchange.headers.get(b"x-api-key")
        exchange.principal = authenticator.cached(authorization, api_key)
        if exchange.principal is None:
            looking_up = authenticator.authenticate(authorization, api_key, or_lately=route in self._or_lately)
            return self._after(looking_up, began, scope, receive, send)
        exchange.timings.append(("auth", (time.perf_counter() - began) * 1000))
        return self._app(scope, receive, send)

    async def _after(
        self, looking_up: Awaitable[Principal], began: float, scope: Scope, receive: Receive, send: Send
    ) -> None:
        exchange = exchange_of(scope)
        exchange.principal = await looking_up
        exchange.timings.append(("auth", (time.perf_counter() - began) * 1000))
        await self._app(scope, receive, send)


def check_headers(scope: Scope, headers: Mapping[bytes, bytes]) -> None:
    """Refuse headers that others on the way might read otherwise.

    Args:
        headers: the first of each name.

    Raises:
        Unauthenticated: two credentials.
        ValidationFailed: no host, or two, or two of another header that has one value.
    """
    if b"host" not in headers and scope.get("http_version") == "1.1":
        raise ValidationFailed("HTTP/1.1 needs a Host header.", code="malformed_request")  # RFC 9112 §3.2
    if len(headers) == len(scope["headers"]):
        return
    names = Counter(name for name, _ in scope["headers"])
    repeated = sorted(name.decode("latin-1") for name in _ONCE if names[name] > 1)
    if "authorization" in repeated or "x-api-key" in repeated:
        raise Unauthenticated(
            "Send one Authorization or one x-api-key: two might mean two callers.", code="ambiguous_credentials"
        )
    if repeated:
        details = [{"field": name, "message": "Sent more than once", "type": "header"} for name in repeated]
        raise ValidationFailed("Send each of these headers once.", code="malformed_request", details=details)


def _address(scope: Scope, trusted: Networks) -> str | None:
    client = scope.get("client")
    peer = client[0] if client else None
    if trusted.is_empty:
        return peer
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    return client_address(peer, str(forwarded, "latin-1"), trusted)


def _printable(path: str) -> str:
    """A path that is safe to log: bounded, without secrets and personal data, and without line breaks."""
    return _redact(path[:MAX_LOGGED_PATH]).encode("unicode_escape").decode()


def _well_formed(request_id: bytes) -> str | None:
    """The request id that the caller sent, if it is well formed."""
    return str(request_id, "ascii") if _REQUEST_ID.fullmatch(request_id) else None
