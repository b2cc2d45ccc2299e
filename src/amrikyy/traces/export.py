"""Sends traces to collectors over OTLP/HTTP. A slow, dead or faulty one loses its own data and affects nothing else."""

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

import structlog

from amrikyy.http_client import HttpClient, HttpFailure, Reply
from amrikyy.telemetry.metrics import Metrics
from amrikyy.traces.segment import Segment

log = structlog.get_logger(__name__)

SEND_AFTER_S = 0.5
"""How long a segment waits to be batched."""

MAX_BATCH_BYTES = 1_000_000
"""Encoded spans in one request; collectors commonly accept 4 to 20 MB."""

MAX_WAITING_BYTES = 16_000_000
"""The most that waits for a collector; newer segments beyond that are dropped, and counted."""

ATTEMPTS = 5
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
CONNECT_S = 5.0
CLOSE_TIMEOUT_S = 2.0
MAX_REPLY_BYTES = 64_000

_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class OtlpExporter:
    """Sends segments to one collector, one request at a time.

    Args:
        name: the collector's name in metrics and logs.
        url: the URL that traces are posted to.
        headers: request headers, in addition to the usual ones.
        http: a client of its own, closed with it.
        metrics: counts what was delivered and lost.
        resource: the OpenTelemetry resource attributes of this server.
        timeout_s: the timeout of one request.
        only_agents: segments that belong to no agent and no workflow are not sent.
    """

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        http: HttpClient,
        metrics: Metrics,
        resource: dict[str, str],
        *,
        timeout_s: float = 10.0,
        only_agents: bool = False,
    ) -> None:
        self.name = name
        self.failing = False
        self._url = url
        self._headers = {"content-type": "application/x-protobuf", "accept": "*/*", **headers}
        self._http = http
        self._metrics = metrics
        self._resource = resource
        self._timeout_s = timeout_s
        self._only_agents = only_agents
        self._waiting: deque[Segment] = deque()
        self._waiting_bytes = 0
        self._work = asyncio.Event()
        self._closing = asyncio.Event()
        self._sender = asyncio.get_running_loop().create_task(self._send_forever(), name=f"traces-{name}")

    def put(self, segment: Segment) -> None:
        """Accept a segment. Never waits, never fails."""
        if self._only_agents and not segment.is_of_agents:
            return
        if self._waiting_bytes + len(segment.spans) > MAX_WAITING_BYTES:
            self._lost(1, "too much waits for it")
            return
        self._waiting.append(segment)
        self._waiting_bytes += len(segment.spans)
        self._work.set()

    async def close(self) -> None:
        """Send what is pending, if that is quick, and stop."""
        self._closing.set()
        self._work.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.shield(self._sender)
        if not self._sender.done():
            self._sender.cancel()
            await asyncio.wait([self._sender])
        if self._waiting:
            self._lost(len(self._waiting), "the server stops")
        await self._http.close()

    async def _send_forever(self) -> None:
        while self._waiting or not self._closing.is_set():
            await self._work.wait()
            await self._pause(SEND_AFTER_S)
            self._work.clear()
            while self._waiting:
                await self._send(self._take())

    def _take(self) -> list[Segment]:
        batch: list[Segment] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0].spans) <= MAX_BATCH_BYTES):
            segment = self._waiting.popleft()
            size += len(segment.spans)
            batch.append(segment)
        self._waiting_bytes -= size
        return batch

    async def _send(self, batch: list[Segment]) -> None:
        why = ""
        try:
            body = await asyncio.to_thread(self._encode, batch)
            for attempt in range(ATTEMPTS):
                wait_s: float | None = None
                try:
                    reply = await self._http.fetch(
                        "POST", self._url, headers=self._headers, body=body,
                        connect_s=min(CONNECT_S, self._timeout_s), timeout_s=self._timeout_s, max_body=MAX_REPLY_BYTES,
                    )  # fmt: skip
                except (HttpFailure, TimeoutError) as error:
                    why = str(error) or "it did not answer in time"
                else:
                    if 200 <= reply.status < 300:
                        self._delivered(len(batch))
                        return
                    why = f"it answered {reply.status}"
                    if reply.status not in _AGAIN:
                        break
                    wait_s = _retry_after_s(reply)
                if self._closing.is_set() or attempt == ATTEMPTS - 1:
                    break
                longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
                await self._pause(wait_s if wait_s is not None else random.uniform(longest / 2, longest))  # noqa: S311 - no secret
        except asyncio.CancelledError:
            self._lost(len(batch), "the server stops")
            raise
        except Exception:
            why = "it failed unexpectedly"
            if not self.failing:
                log.exception("traces_not_exported", to=self.name)
        self._lost(len(batch), why)

    def _encode(self, batch: list[Segment]) -> bytes:
        from amrikyy.traces.otlp import encode_request

        return encode_request([(segment.trace_id, segment.spans) for segment in batch], self._resource)

    def _delivered(self, count: int) -> None:
        self._metrics.traces_delivered.inc(self.name, by=count)
        if self.failing:
            log.info("traces_are_exported_again", to=self.name)
        self.failing = False

    def _lost(self, count: int, why: str) -> None:
        self._metrics.traces_lost.inc(self.name, by=count)
        if not self.failing:
            log.warning("traces_cannot_be_exported", to=self.name, reason=why)
        self.failing = True

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


def _retry_after_s(reply: Reply) -> float | None:
    value = reply.head.get(b"retry-after")
    return min(float(value), LONGEST_PAUSE_S) if value.isdecimal() else None
