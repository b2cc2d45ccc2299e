"""Streams a run's events as `text/event-stream`, with heartbeats, disconnects, and errors as events."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from amrikyy.errors import HandedOver
from amrikyy.runs.events import ENDS, Event
from amrikyy.runs.partial import Fold
from amrikyy.runs.run import Run
from amrikyy.telemetry.metrics import Metrics
from amrikyy.web.connection import Leaving
from amrikyy.web.errors import encode, error_body
from amrikyy.web.exchange import exchange_of, shed
from amrikyy.web.replies import completion

log = structlog.get_logger(__name__)

HEARTBEAT_S = 15
"""Seconds of silence before a comment line; proxies commonly close a connection after 30 or 60 s of silence."""

STALL_S = 30
"""Seconds in which a client reads nothing of what is pending for it before its connection is closed."""

MAX_WRITE = 64 * 1024
"""Bytes written to the connection at a time, and so the memory that a client which does not read takes."""

HEARTBEAT = b": still here\n\n"

RETRY_MS = 1000
"""When a reader that is told to reconnect should do so: by then a load balancer has noticed that this server stops."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would buffer the tokens otherwise
]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class EventStream:
    """The response that follows a run from event number `after` to its end.

    Events that exist already are written together. When the client disconnects, the run goes on for the grace
    period. A client that does not read delays only itself: the log belongs to the run, the stream holds `MAX_WRITE`
    bytes of it, and after `STALL_S` without any progress the connection is closed. The client can resume.
    `connected` has further fields of the event of that name. `before_end` is awaited before the last event is shown.
    """

    __slots__ = ("_after", "_before_end", "_connected", "_grace_s", "_metrics", "_run")

    def __init__(
        self,
        run: Run,
        metrics: Metrics,
        *,
        grace_s: float,
        after: int = 0,
        connected: Mapping[str, Any] = _NOTHING,
        before_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._before_end = before_end
        self._run = run
        self._metrics = metrics
        self._grace_s = grace_s
        self._after = after
        self._connected = connected

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the stream."""
        run, metrics = self._run, self._metrics
        exchange = exchange_of(scope)
        began = time.perf_counter()
        metrics.streams_active(run.agent).inc()
        reader = run.read(self._after)
        leaving = Leaving(scope, receive, reader.close)
        stalled = StallWatch(leaving.cut)
        writer = EventWriter(run, exchange.request_id, self._connected)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            shed(scope)
            if self._after:
                writer.skip(run.events(0, self._after))
                if self._after >= run.readable:  # sends the head, which would wait for the first piece of the body
                    await send({"type": "http.response.body", "body": b"", "more_body": True})
            while not reader.at_end:
                first = reader.position + 1
                events = await reader.read(HEARTBEAT_S)
                if self._before_end is not None and events and events[-1].kind in ENDS:
                    await self._before_end()
                for body in writer.bodies(first, events) if events else (HEARTBEAT,):
                    if reader.closed:
                        return
                    if leaving.may_stall:
                        stalled.begin()
                    await send({"type": "http.response.body", "body": body, "more_body": True})
                    stalled.since = None
            await send({"type": "http.response.body", "body": b""})
        finally:
            run.leave(reader, self._grace_s)
            leaving.stop()
            stalled.stop()
            metrics.streams_active(run.agent).dec()
            metrics.streams.inc(run.agent, _how_ended(run) if reader.at_end else "left")
            metrics.stream_chunks.inc(run.agent, by=max(0, reader.position - self._after))
            metrics.stream_seconds.observe(time.perf_counter() - began, run.agent)


def _how_ended(run: Run) -> str:
    outcome = run.outcome
    return "left" if outcome is not None and isinstance(outcome.error, HandedOver) else run.status


class StallWatch:
    """Closes the connection of a client that reads nothing for `STALL_S`.

    Most clients never make a writer wait; for the others it uses one timer, not one per write.
    """

    __slots__ = ("_cut", "_timer", "since")

    def __init__(self, cut: Callable[[], object]) -> None:
        self.since: float | None = None
        self._cut = cut
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Note that a write begins that may stall; the caller sets `since` to None when it has ended."""
        loop = asyncio.get_running_loop()
        self.since = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(STALL_S, self._look)

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if self.since is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() - self.since >= STALL_S:
            log.info("stalled_reader_cut")
            self._cut()
        else:
            self._timer = loop.call_at(self.since + STALL_S, self._look)


class EventWriter:
    """Formats events. It holds the object so far, because the log only has its deltas."""

    __slots__ = ("_connected", "_fold", "_request_id", "_run", "_run_id")

    def __init__(self, run: Run, request_id: str, connected: Mapping[str, Any] = _NOTHING) -> None:
        self._run = run
        self._connected = connected
        self._request_id = request_id
        self._run_id = run.id.encode()
        self._fold: Fold | None = None

    def skip(self, events: list[Event]) -> None:
        """Process the events that the client has already seen, from the first."""
        for number, event in enumerate(events, 1):
            if event.kind == "partial":
                self._folded(number, event)

    def bodies(self, first: int, events: list[Event]) -> Iterator[bytes]:
        """The encoded `events`, the first of which is number `first`, in pieces of about `MAX_WRITE` at most."""
        run_id = self._run_id
        parts: list[bytes] = []
        size = 0
        for number, event in enumerate(events, first):
            if event.kind == "token":
                part = b'id: %b:%d\nevent: token\ndata: {"chunk":%b}\n\n' % (run_id, number, _text(event.data))
            else:
                name, data = self._describe(number, event)
                part = b"event: %b\ndata: %b\n\n" % (name, data)
                if name != b"reconnect":  # which is not an event of the run, and has no number
                    part = b"id: %b:%d\n%b" % (run_id, number, part)
            parts.append(part)
            size += len(part)
            if size >= MAX_WRITE:
                yield b"".join(parts)
                parts.clear()
                size = 0
        if parts:
            yield b"".join(parts)

    def write(self, first: int, events: list[Event]) -> bytes:
        """All `bodies` in one piece."""
        return b"".join(self.bodies(first, events))

    def _describe(self, number: int, event: Event) -> tuple[bytes, bytes]:
        run = self._run
        match event.kind:
            case "started":
                begun = {"message": "Stream started", "runId": run.id, "agent": run.agent, "operation": run.operation}
                return b"connected", encode({**begun, **self._connected})
            case "queued":
                return b"queued", encode({"position": event.data})
            case "progress":
                percent, message = event.data
                return b"progress", encode({"progress": percent, "message": message})
            case "partial":
                return b"partial", encode({"data": msgspec.Raw(self._partial(number, event))})
            case "completed":
                return b"complete", encode(completion(run))
            case _ if isinstance(event.data, HandedOver):
                return b"reconnect", encode({"runId": run.id, "retryMs": RETRY_MS})
            case _:
                return b"error", encode(error_body(event.data, self._request_id))

    def _partial(self, number: int, event: Event) -> bytes:
        latest = self._run.execution.latest_partial
        fold = self._folded(number, event)
        return latest[1] if latest is not None and latest[0] == number else fold.encoded()

    def _folded(self, number: int, event: Event) -> Fold:
        if self._fold is None:
            partial_type = self._run.execution.partial_type
            assert partial_type is not None, "a partial event says what it grows into before it is in the log"
            self._fold = Fold(partial_type)
        self._fold.feed(event.data, self._run.execution.partial_types.get(number))
        return self._fold


_text: Any = msgspec.json.Encoder().encode
