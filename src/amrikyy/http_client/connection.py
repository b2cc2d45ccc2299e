"""One connection: it sends a request, and passes the response on the moment it arrives."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from typing import Any, Protocol, cast

import httptools
import msgspec

from amrikyy.http_client.patience import Patience
from amrikyy.http_client.request import Origin

MAX_HEAD = 64 * 1024
"""Bytes of a status line with its headers; servers commonly allow 8 to 16 KB."""


class HttpFailure(Exception):
    """There is no response, or not all of it. The message is for people and repeats nothing that was sent."""


class NotConnected(HttpFailure):
    """The server cannot be reached."""


class ConnectTimeout(NotConnected):
    """No connection was made in time, or none became free."""


class BrokenOff(HttpFailure):
    """The connection was lost, or what came was not HTTP.

    Attributes:
        untouched: the connection had served a request before and was lost before any of this response came: very
            likely the server had already closed it and has not seen the request.
    """

    def __init__(self, reason: str, *, untouched: bool = False) -> None:
        super().__init__(reason)
        self.untouched = untouched


class TooLarge(HttpFailure):
    """The response is larger than allowed."""


class Head(msgspec.Struct, eq=False, gc=False):
    """The status and the headers of a response.

    Attributes:
        status: the status code.
        fields: the headers, with names in lower case; of a repeated header, the first.
    """

    status: int
    fields: dict[bytes, bytes]

    def get(self, name: bytes) -> str:
        """The header of that name, which must be in lower case; "" if there is none."""
        return str(self.fields.get(name, b""), "latin-1")

    @property
    def content_type(self) -> str:
        """The media type without its parameters."""
        return _media_type(self.fields.get(b"content-type", b""))


@lru_cache(maxsize=64)
def _media_type(value: bytes) -> str:
    """Cached, because a server sends the same one each time."""
    return str(value, "latin-1").partition(";")[0].strip().lower()


class Receiver(Protocol):
    """Receives a response. An exception that it raises ends the exchange, and the exchange raises it."""

    def head(self, head: Head) -> None:
        """The response begins."""
        ...

    def data(self, data: bytes) -> None:
        """More of the body: what arrived with one read from the socket."""
        ...


class Connection(asyncio.Protocol):
    """A connection to one server, for one exchange at a time.

    Args:
        origin: the server.
        on_free: called when a response has ended and the next request may be sent.
        on_lost: called once, when the connection is gone.

    Attributes:
        idle_since: the loop time at which its last exchange ended.
        loop: the event loop that it belongs to.
        unanswered: the request that was sent last, until any of its response arrives.
    """

    __slots__ = (
        "_body", "_done", "_ends_with_connection", "_fields", "_has_ended", "_has_head", "_head_size", "_is_interim",
        "_keeps_alive", "_on_free", "_on_lost", "_overran", "_parser", "_patience", "_receiver", "_timer", "_timer_at",
        "_transport", "_used", "idle_since", "loop", "origin", "unanswered",
    )  # fmt: skip

    def __init__(
        self, origin: Origin, on_free: "Callable[[Connection], None]", on_lost: "Callable[[Connection], None]"
    ) -> None:
        self.origin = origin
        self.loop = asyncio.get_running_loop()  # kept, because each look-up costs a system call
        self.unanswered = b""
        self._on_free = on_free
        self._on_lost = on_lost
        self._parser: Any = None
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._patience: Patience | None = None
        # One timer for all exchanges, which may fire too early and is then set again: one timer for each costs more.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._done: asyncio.Future[None] | None = None
        self._fields: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._head_size = 0
        self._used = self._has_head = self._has_ended = self._keeps_alive = self._is_interim = False
        self._overran = self._ends_with_connection = False
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent: no response is awaited, and the other side has not closed the connection."""
        return self._receiver is None and self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, receiver: Receiver, patience: Patience) -> "asyncio.Future[None]":
        """Send a request. The future is done when the response has ended, with an exception if it failed."""
        assert self._transport is not None
        self._receiver = receiver
        self._patience = patience
        if self._timer is None or patience.until < self._timer_at:
            self._set_timer(patience.until)
        self._done = done = self.loop.create_future()
        self._head_size = 0
        self._has_head = self._has_ended = self._overran = False
        self.unanswered = request
        self._transport.write(request)
        return done

    def fail(self, error: Exception) -> None:
        """End the exchange with this error, and the connection with it."""
        done, self._done, self._receiver, self._patience = self._done, None, None, None
        if self._transport is not None:
            self._transport.abort()
        if done is not None and not done.done():
            done.set_exception(error)

    def abort(self) -> None:
        """Close the socket now: an orderly shutdown, as TLS has one, would wait for the other side."""
        self.fail(BrokenOff("the connection was closed on our side"))

    def give_up(self, done: "asyncio.Future[None]") -> None:
        """Close the connection, if it still serves the exchange with this future.

        The response may have ended between the cancelling of a task and its waking up, and somebody else may already
        wait for the next one.
        """
        if self._done is done:
            self.abort()

    # --- The transport calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        # Not earlier: it refers to us, and `connection_lost` is not called for a connection given up before it is made.
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived and pass it on."""
        receiver, patience = self._receiver, self._patience
        if receiver is None or patience is None:
            self.abort()  # nothing was asked
            return
        had_head = self._has_head
        if not had_head:
            self._head_size += len(data)
            self.unanswered = b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(BrokenOff(f"what it sent is not HTTP ({type(error).__name__})"))
            return
        try:
            if self._has_head and not had_head:
                fields, self._fields = self._fields, {}
                # Without either, the body goes on until the connection ends (RFC 9112 §6.3).
                self._ends_with_connection = b"content-length" not in fields and b"transfer-encoding" not in fields
                receiver.head(Head(self._parser.get_status_code(), fields))
            elif self._head_size > MAX_HEAD and not had_head:
                raise BrokenOff(f"its headers have more than {MAX_HEAD} bytes")
            if self._body:
                body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
                self._body.clear()
                receiver.data(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the exchange, which raises it
            self.fail(error)
            return
        if self._receiver is receiver:
            if self._has_ended:
                self._end()
            elif patience.until < self._timer_at:
                self._set_timer(patience.until)

    def eof_received(self) -> bool:
        """Close our side, too."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """End the exchange: successfully, if the response was to end with the connection."""
        if self._receiver is not None:
            if error is None and self._has_head and self._ends_with_connection:
                self._keeps_alive = False
                self._end()
            else:
                untouched = self._used and self._head_size == 0
                reason = "the connection was lost" + (f" ({type(error).__name__})" if error is not None else "")
                self.fail(BrokenOff(reason, untouched=untouched))
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._parser = None  # it refers to us, and would wait for the garbage collector
        self._on_lost(self)

    # --- The parser calls ---

    def on_message_begin(self) -> None:
        """A response begins. A second one was not asked for, and a server that sends it is not to be trusted."""
        self._overran = self._has_ended

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is ignored."""
        if not self._has_head:
            self._fields.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        """The headers are complete; those of a 1xx response only precede the real ones."""
        if self._overran:
            return
        self._is_interim = 100 <= self._parser.get_status_code() < 200
        if self._is_interim:
            self._fields.clear()
        else:
            self._has_head = True

    def on_body(self, data: bytes) -> None:
        """A part of the body; in a chunked body, a part of a chunk."""
        if not self._overran:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The response has ended."""
        if not self._is_interim and not self._overran:
            self._has_ended = True
            self._keeps_alive = self._parser.should_keep_alive()

    # --- Ours ---

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self.loop.call_later(max(0.0, when - monotonic()), self._look)

    def _look(self) -> None:
        self._timer = None
        patience = self._patience
        if patience is None:
            return  # no exchange is in progress; the next one sets another timer
        if monotonic() < patience.until:
            self._set_timer(patience.until)
        else:
            # Our own process may have been busy: what has arrived by now is read first.
            self._timer = self.loop.call_later(0.001, self._decide, patience, patience.until)

    def _decide(self, patience: Patience, until: float) -> None:
        self._timer = None
        if self._patience is patience and patience.until <= until:
            self.fail(patience.passed())
        elif self._patience is not None:
            self._set_timer(self._patience.until)

    def _end(self) -> None:
        done, self._done, self._receiver, self._patience = self._done, None, None, None
        self._used = True
        if self._transport is not None:
            if self._keeps_alive and not self._overran:
                self._on_free(self)
            else:
                self._transport.abort()
        if done is not None and not done.done():
            done.set_result(None)
