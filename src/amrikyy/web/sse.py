"""A run's events as `text/event-stream`, written as ready bytes: heartbeat, disconnect, error-as-event."""

import asyncio
from typing import Any

import msgspec
import structlog
from starlette.types import Receive, Scope, Send

from amrikyy.runs.events import Event
from amrikyy.runs.partial import Fold
from amrikyy.runs.run import Run
from amrikyy.web.errors import encode, error_body
from amrikyy.web.exchange import exchange_of
from amrikyy.web.replies import completion

log = structlog.get_logger(__name__)

HEARTBEAT_S = 15
"""Seconds of silence before a comment line; proxies commonly cut a connection that is silent for 30 or 60."""

HEARTBEAT = b": still here\n\n"

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the tokens otherwise
]


class EventStream:
    """The response that follows a run from event number `after` to its end.

    What is already there is written together. When the client leaves, the run is told so, and goes on
    for the grace time.
    """

    def __init__(self, run: Run, *, grace_s: float, after: int = 0) -> None:
        self._run = run
        self._grace_s = grace_s
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the stream."""
        run = self._run
        exchange = exchange_of(scope)
        exchange.run_id = run.id
        reader = run.read(self._after)
        leaving = asyncio.get_running_loop().create_task(_disconnected(receive))
        leaving.add_done_callback(lambda _: reader.close())
        writer = EventWriter(run, exchange.request_id)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, _run_header(run)]})
            if self._after:
                writer.skip(run.execution.events[: self._after])
            while not reader.at_end:
                first = reader.position + 1
                events = await reader.read(HEARTBEAT_S)
                if reader.closed:
                    return
                body = writer.write(first, events) if events else HEARTBEAT
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            run.leave(reader, self._grace_s)
            leaving.cancel()


class EventWriter:
    """Formats events. It keeps the object so far, because the log only has how it grew."""

    def __init__(self, run: Run, request_id: str) -> None:
        self._run = run
        self._request_id = request_id
        self._run_id = run.id.encode()
        self._fold: Fold | None = None

    def skip(self, events: list[Event]) -> None:
        """Take in events that the client has already seen."""
        for event in events:
            if event.kind == "partial":
                self._folded(event)

    def write(self, first: int, events: list[Event]) -> bytes:
        """The bytes of `events`, the first of which is number `first`."""
        run_id = self._run_id
        parts: list[bytes] = []
        for number, event in enumerate(events, first):
            if event.kind == "token":
                parts.append(b'id: %b:%d\nevent: token\ndata: {"chunk":%b}\n\n' % (run_id, number, _text(event.data)))
            else:
                name, data = self._describe(number, event)
                parts.append(b"id: %b:%d\nevent: %b\ndata: %b\n\n" % (run_id, number, name, data))
        return b"".join(parts)

    def _describe(self, number: int, event: Event) -> tuple[bytes, bytes]:
        run = self._run
        match event.kind:
            case "started":
                return b"connected", encode(
                    {"message": "Stream started", "runId": run.id, "agent": run.agent, "operation": run.operation}
                )
            case "progress":
                percent, message = event.data
                return b"progress", encode({"progress": percent, "message": message})
            case "partial":
                return b"partial", encode({"data": msgspec.Raw(self._partial(number, event))})
            case "completed":
                return b"complete", encode(completion(run))
            case _:
                return b"error", encode(error_body(event.data, self._request_id))

    def _partial(self, number: int, event: Event) -> bytes:
        latest = self._run.execution.latest_partial
        fold = self._folded(event)
        return latest[1] if latest is not None and latest[0] == number else fold.encoded()

    def _folded(self, event: Event) -> Fold:
        if self._fold is None:
            partial_type = self._run.execution.partial_type
            assert partial_type is not None, "a partial event says what it grows into before it is in the log"
            self._fold = Fold(partial_type)
        self._fold.feed(event.data)
        return self._fold


_text: Any = msgspec.json.Encoder().encode


def _run_header(run: Run) -> tuple[bytes, bytes]:
    return b"x-run-id", run.id.encode()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
