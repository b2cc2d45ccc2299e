"""Extends uvicorn's HTTP protocol: connections that can be aborted and watched, and responses in one write."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
import structlog
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from amrikyy.errors import ValidationFailed
from amrikyy.web.connection import CONNECTION
from amrikyy.web.errors import encode, error_body
from amrikyy.web.exchange import new_request_id
from amrikyy.web.flow import UNHEARD, Flow, Pipeline, Signal
from amrikyy.web.headers import NOT_STORED, Written, write

log = structlog.get_logger(__name__)

HEAD_WITHIN_S = 30.0
"""How long the head of a request may take: otherwise clients that send a byte now and then could exhaust the file
descriptors. A new connection may stay silent as long as one kept alive, because load balancers open some in advance."""


MAX_KEPT_URL = 200
"""The longest URL, in bytes, whose parts are kept for the next request: most come again and again."""


@lru_cache(1024)
def _parts_of(url: bytes) -> tuple[bytes, str, bytes]:
    """The path as it was sent, as ASGI has it, and the query string."""
    parts = httptools.parse_url(url)
    raw_path: bytes = parts.path or b"/"  # of "GET http://host HTTP/1.1"
    path = raw_path.decode("ascii")
    return raw_path, unquote(path) if "%" in path else path, parts.query or b""


_of_every_answer = Written()

MALFORMED = ValidationFailed("This is not a well-formed HTTP request.", code="malformed_request")


class Cycle(RequestResponseCycle):
    """Writes the head of a response together with the first piece of its body.

    A write is a system call, a packet, and a wake-up of the client: 25 of the 110 microseconds of a short answer.
    Another 20 went into searching each header for characters that would end its line; here all are searched at once.
    """

    # Also what the base class uses: in a dictionary it takes more memory.
    __slots__ = (
        "_head", "body", "chunked_encoding", "default_headers", "disconnected",
        "expected_content_length", "flow", "has_news", "keep_alive", "logger", "message_event", "more_body",
        "on_response", "response_complete", "response_started", "scope", "transport", "waiting_for_100_continue",
    )  # fmt: skip

    body: Any  # bytes as long as it has come in one piece
    expected_content_length: Any  # None if it is not known
    message_event: Any  # UNHEARD, then a Signal, which has what is used of an asyncio.Event
    has_news: bool  # whether that is to be set, as something has come that was not taken yet

    def __init__(self, protocol: "Protocol", scope: Any, *, keep_alive: bool) -> None:
        self.scope = scope
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.logger = protocol.logger
        self.default_headers = protocol.server_state.default_headers
        self.message_event = UNHEARD
        self.has_news = False
        self.on_response = protocol.on_response_complete
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = protocol.expect_100_continue
        self.body = b""
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = self.chunked_encoding = False
        self.expected_content_length = 0

    async def receive(self) -> Any:
        """Wait for a part of the request, or for its client to leave."""
        if self.message_event is UNHEARD:
            self.message_event = Signal()
            if self.has_news:
                self.message_event.set()
        return await super().receive()

    async def send(self, message: Any) -> None:
        """Send a part of the response.

        Raises:
            RuntimeError: the application violates ASGI, or a header contains a line break.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self._head = self._head_of(message["status"], message.get("headers", ()))
            self.response_started = True
            self.waiting_for_100_continue = False
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._write(message.get("body", b""), is_last=not message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind!r} may not be sent now")

    def _head_of(self, status: int, headers: Any) -> bytes:
        lines = list(headers)
        by_name = dict(lines)
        if by_name.get(b"connection", b"").lower() == b"close":
            self.keep_alive = False
        if not self.keep_alive:
            lines.append((b"connection", b"close"))
        length = by_name.get(b"content-length")
        self.chunked_encoding = False
        if self.scope["method"] == "HEAD" or status in (204, 304):
            self.expected_content_length = 0
        elif length is not None:
            self.expected_content_length = int(length)
        elif (
            self.scope["http_version"] == "1.0"
        ):  # which does not know chunks (RFC 9112 §6.1): it ends with the connection
            self.expected_content_length = None
        else:
            self.chunked_encoding = True
            lines.append((b"transfer-encoding", b"chunked"))
        block = write(lines)
        if not block.count(b"\n") == block.count(b"\r") == len(lines) or 0 in block:
            raise RuntimeError("a header of the response has a line break in it")
        return b"".join((STATUS_LINE[status], _of_every_answer(self.default_headers), block, b"\r\n"))

    def _write(self, body: bytes, *, is_last: bool) -> None:
        if self.scope["method"] == "HEAD":
            body = b""
        head, self._head = self._head, b""
        if self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk + b"0\r\n\r\n" if is_last else chunk
        elif self.expected_content_length is not None:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (is_last and self.expected_content_length):
                raise RuntimeError("the body of the response is not as long as its Content-Length")
        if data := head + body if head else body:
            self.transport.write(data)
        if is_last:
            self.response_complete = True
            if self.message_event is not UNHEARD:
                self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()


_ASGI = {"version": "3.0", "spec_version": "2.3"}


class Protocol(HttpToolsProtocol):
    """One client connection; implements `web.connection.Connection`."""

    # Also what the base class assigns: in a dictionary of so many attributes they would take 1.3 KB a connection more.
    __slots__ = (
        "_closes_after_next", "_head_due", "_on_lost", "access_log", "access_logger", "app", "app_state",
        "asgi_version", "client", "config", "connections", "cycle", "expect_100_continue", "flow", "headers",
        "limit_concurrency", "logger", "loop", "parser", "pipeline", "root_path", "scheme", "scope", "server",
        "server_state", "tasks", "timeout_keep_alive", "timeout_keep_alive_task", "transport", "url",
        "ws_protocol_class",
    )  # fmt: skip

    scope: Any  # of the last request; None before the first one, and after a disconnect
    cycle: Any
    flow: Any
    pipeline: Any
    parser: Any

    def __init__(self, *args: Any, **named: Any) -> None:
        self._on_lost: Callable[[], object] | None = None
        self._closes_after_next = False
        self._head_due: float | None = None
        super().__init__(*args, **named)
        self.pipeline = Pipeline()

    def close_after_next(self) -> None:
        """Close the connection after the response in progress, or after the next one."""
        self._closes_after_next = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    @property
    def has_whole_body(self) -> bool:
        """Whether the whole body has arrived; with pipelining, that of the last request, which follows all others."""
        return self.cycle is None or not self.cycle.more_body

    def take_body(self, scope: Any) -> bytes | None:
        """Take the body of this scope's request, if it has arrived completely; `receive` does not return it then.

        Only possible for the last request, whose `cycle` is at hand: the bodies of earlier pipelined requests have to
        be received.
        """
        cycle = self.cycle
        if cycle is None or cycle.scope is not scope or cycle.more_body:
            return None
        body = bytes(cycle.body)
        cycle.body = b""
        cycle.has_news = False
        if cycle.message_event is not UNHEARD:
            cycle.message_event.clear()
        if self.flow.read_paused:
            self.flow.resume_reading()
        return body

    @property
    def is_backed_up(self) -> bool:
        """Whether the client reads so slowly that a writer has to wait."""
        return self.flow is not None and bool(self.flow.write_paused)

    def free_parser(self) -> None:
        """Free the parser (1.1 KB) until more arrives, unless it is in the middle of a request."""
        is_in_head = self._head_due is not None
        if not is_in_head and self.cycle is not None and not self.cycle.more_body:
            self.parser = None

    def abort(self) -> None:
        """Close the connection at once, dropping what was not sent yet."""
        self.transport.abort()

    def close_if_silent(self, now: float) -> None:
        """Close the connection if it has only been waiting for the head of a request, and for too long."""
        due, cycle = self._head_due, self.cycle
        if due is not None and now > due and (cycle is None or cycle.response_complete):
            self.transport.close()

    def when_lost(self, callback: Callable[[], object] | None) -> None:
        """Set the callback for when the client disconnects; called at once if it has already."""
        self._on_lost = callback
        if callback is not None and self.transport.is_closing():
            asyncio.get_running_loop().call_soon(self._tell)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the base class does
        """Set up flow control, and the deadline of the first request."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._head_due = self.loop.time() + self.timeout_keep_alive

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self.parser is None:
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as the base class does
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._unsupported_upgrade_warning()
        except httptools.HttpParserError:
            self._refuse_malformed()

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._head_due = self.loop.time() + HEAD_WITHIN_S

    def on_headers_complete(self) -> None:
        """Begin to answer, or put the request in line if the one before it is not answered yet.

        Like the base class, which takes a fifth longer and creates events and cycles of its own kind; but there are no
        WebSockets, no limit of connections (`runs.slots` limits runs), and no state of the lifespan in the scope.
        """
        parser, headers, before = self.parser, self.headers, self.cycle
        version = parser.get_http_version()
        url = self.url
        raw_path, path, query = _parts_of(url) if len(url) <= MAX_KEPT_URL else _parts_of.__wrapped__(url)
        self.scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": parser.get_method().decode("ascii"),
            "root_path": self.root_path,
            "path": self.root_path + path,
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query,
            "headers": headers,
            CONNECTION: self,
        }
        self.headers = []  # trailers are not added to the headers
        self._head_due = None
        keep_alive = version != "1.0" and parser.should_keep_alive()
        cycle = self.cycle = Cycle(self, self.scope, keep_alive=keep_alive)
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """A part of the body; the only one of most, which is kept without copying it."""
        cycle = self.cycle
        if cycle.response_complete:
            return
        if not cycle.body:
            cycle.body = body
        else:
            if isinstance(cycle.body, bytes):
                cycle.body = bytearray(cycle.body)
            cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.has_news = True
        if cycle.message_event is not UNHEARD:
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The request has arrived."""
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.has_news = True
            if cycle.message_event is not UNHEARD:
                cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Start the next pipelined request, or set the keep-alive deadline, for which the base class uses a timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._head_due is None:  # else the next head has begun
            self._head_due = self.loop.time() + self.timeout_keep_alive

    def connection_lost(self, exc: Exception | None) -> None:
        """Call the `when_lost` callback, and drop the last request.

        The base class leaves a reference cycle between the two: 6 KB a connection that only the garbage collector
        frees, whose collections of the oldest generation are many minutes apart and take seconds.
        """
        super().connection_lost(exc)
        self._tell()
        self.cycle = self.scope = self.headers = self.flow = None  # type: ignore[assignment]  # as initially
        self.pipeline.clear()

    def _refuse_malformed(self) -> None:
        """Answer what is no HTTP with a 400, and close the connection.

        If it follows a whole request that is not answered yet, that answer is the last. Within a request whose answer
        has begun, or that is not the next to be answered, nobody would understand a 400.
        """
        cycle = self.cycle
        in_progress = cycle is not None and not cycle.response_complete
        if in_progress and not cycle.more_body:
            cycle.keep_alive = False
        elif in_progress and (cycle.response_started or self.pipeline):
            self.abort()
        else:
            request_id = new_request_id()
            log.warning("malformed_request", request_id=request_id, address=self.client[0] if self.client else None)
            body = encode(error_body(MALFORMED, request_id))
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"connection", b"close"),
                NOT_STORED,
                (b"x-request-id", request_id.encode()),
            ]
            head = STATUS_LINE[MALFORMED.status], _of_every_answer(self.server_state.default_headers), write(headers)
            self.transport.write(b"".join((*head, b"\r\n", body)))
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._closes_after_next:
            cycle.keep_alive = False
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _tell(self) -> None:
        callback, self._on_lost = self._on_lost, None
        if callback is not None:
            callback()
