"""The state of one HTTP exchange, from its first byte to its access line."""

import itertools
import secrets
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import field

from amrikyy.auth.principal import Principal
from amrikyy.runs.run import Run
from amrikyy.telemetry.spans import Span
from amrikyy.web.connection import CONNECTION

if TYPE_CHECKING:
    from amrikyy.runtime import Runtime


_STAGE = "%s;dur=%.2f".__mod__  # takes half the time of a format string with `:.2f`

_PROCESS = secrets.token_hex(6)
_numbers = itertools.count(1)


def new_request_id() -> str:
    """A request id that nobody else has; it need not be secret."""
    return f"req_{_PROCESS}{next(_numbers):012x}"


class Exchange(msgspec.Struct, eq=False):
    """Carried in the ASGI scope under "exchange", filled in by each layer that the request passes.

    Attributes:
        runtime: what the server has opened.
        headers: the request's headers by lower-case name; the first of those with the same name.
        address: the client's address, as reported by trusted proxies.
        request_id: the caller's if it is well formed, else a new one.
        started: when the request arrived, by `time.perf_counter`.
        route: the template of the path ("/api/runs/{runId}"), once it has matched.
        principal: the caller, once authenticated.
        status: the status of the response, once it has begun; None before.
        code: the code of the error that it was answered with.
        operation: the `agent.operation` that it runs, once that is known.
        run_id: the id of the run that was started or read.
        run: the run that it started.
        cost_usd: the cost of the workflow that it started and waited for.
        span: its span; None if it is not traced.
        traced: its trace will be stored, and can be looked up.
        timings: milliseconds by stage, for `Server-Timing`.
        cache: how the cache was used, for `x-cache`.
        extra_headers: headers to add to the response, whatever it is.
    """

    runtime: "Runtime"
    headers: Mapping[bytes, bytes]
    request_id: str
    started: float = field(default_factory=time.perf_counter)
    address: str | None = None
    route: str | None = None
    operation: str | None = None
    principal: Principal | None = None
    status: int | None = None
    code: str | None = None
    run_id: str | None = None
    run: Run | None = None
    cost_usd: float | None = None
    span: Span | None = None
    traced: bool = False
    cache: str | None = None
    timings: list[tuple[str, float]] = field(default_factory=list)
    extra_headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    __repr__ = object.__repr__  # the headers have the caller's credential

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the request arrived."""
        return (time.perf_counter() - self.started) * 1000

    @property
    def failure(self) -> str | None:
        """The code of the request's error, or of that of the run that it started and waited for."""
        outcome = self.run.outcome if self.run is not None else None
        return self.code or (outcome.error.code if outcome is not None and outcome.error is not None else None)

    def server_timing(self) -> bytes:
        """The header's value: each stage, then the total until now (RFC draft: w3.org/TR/server-timing)."""
        stages = [*self.timings, ("total", (time.perf_counter() - self.started) * 1000)]
        return ", ".join(map(_STAGE, stages)).encode()


def exchange_of(scope: Any) -> Exchange:
    """The exchange that the outermost layer has put into the scope."""
    exchange: Exchange = scope["exchange"]
    return exchange


def shed(scope: Any) -> None:
    """Drop what a long stream does not need once it has begun: headers, timings, the parser for the next request."""
    exchange = exchange_of(scope)
    scope["headers"], exchange.headers = (), _NO_HEADERS
    exchange.extra_headers.clear()
    if exchange.span is None:
        exchange.timings.clear()
    if (connection := scope.get(CONNECTION)) is not None:
        connection.free_parser()


_NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
