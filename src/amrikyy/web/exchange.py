"""What is known about one HTTP exchange, from its first byte to its access line."""

import time
from typing import Any

from amrikyy.auth.principal import Principal


class Exchange:
    """Carried in the ASGI scope under "exchange", filled in by each layer that the request passes.

    Attributes:
        request_id: the caller's if well formed, else ours.
        route: the template of the path ("/api/runs/{runId}"), once it has matched.
        principal: who asks, once that is known.
        status: of the response, once it has begun; None before.
        run_id: of the run that was started or read.
        timings: milliseconds by stage, for `Server-Timing`.
        cache: what the cache had to do with it, for `x-cache`.
        extra_headers: headers that are added to the response, whatever it will be.
    """

    __slots__ = ("cache", "extra_headers", "principal", "request_id", "route", "run_id", "started", "status", "timings")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.started = time.perf_counter()
        self.route: str | None = None
        self.principal: Principal | None = None
        self.status: int | None = None
        self.run_id: str | None = None
        self.cache: str | None = None
        self.timings: list[tuple[str, float]] = []
        self.extra_headers: list[tuple[bytes, bytes]] = []

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the request arrived."""
        return (time.perf_counter() - self.started) * 1000

    def server_timing(self) -> bytes:
        """The header's value: each stage, then the total until now (RFC draft: w3.org/TR/server-timing)."""
        stages = [*self.timings, ("total", self.elapsed_ms)]
        return ", ".join(f"{name};dur={duration_ms:.2f}" for name, duration_ms in stages).encode()


def exchange_of(scope: Any) -> Exchange:
    """The exchange that the outermost layer put into the scope."""
    exchange: Exchange = scope["exchange"]
    return exchange
