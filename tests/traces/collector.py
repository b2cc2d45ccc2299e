"""An OTLP collector that keeps what it is sent, and can be slow, wrong or gone."""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Received:
    """One export request."""

    path: str
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def resource(self) -> dict[str, Any]:
        request = ExportTraceServiceRequest.FromString(self.body)
        return _values(request.resource_spans[0].resource.attributes)

    @property
    def spans(self) -> list[dict[str, Any]]:
        request = ExportTraceServiceRequest.FromString(self.body)
        return [
            {
                "trace": span.trace_id.hex(), "id": span.span_id.hex(), "parent": span.parent_span_id.hex(),
                "name": span.name, "kind": span.kind, "attributes": _values(span.attributes),
                "status": span.status.code, "ms": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
            }
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]  # fmt: skip


class Collector:
    """The server. `statuses` are what the next requests are answered with; when there are none left, 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.statuses: list[int] = []
        self.hangs = False
        self.url = ""
        self._change = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Collector":
        app = web.Application(client_max_size=50_000_000)
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        server: Any = site._server
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Be gone."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def spans(self, count: int = 1, *, within_s: float = 20) -> list[dict[str, Any]]:
        """All spans received, once there are so many."""
        async with asyncio.timeout(within_s):
            while len(found := [span for each in self.received for span in each.spans]) < count:
                self._change.clear()
                await self._change.wait()
        return found

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.hangs:
            await asyncio.sleep(3600)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.received.append(Received(request.path, request.headers, body))
        self._change.set()
        return web.Response(status=status)


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
