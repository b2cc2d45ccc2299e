"""One connection to Redis that many callers share: what they send in one turn of the event loop is one write, and
commands whose replies nobody waits for go with it, or a little later."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import hiredis

from amrikyy.errors import RedisRefused, RedisUnavailable

Argument: TypeAlias = bytes | str | int | float
Reply: TypeAlias = "bytes | int | str | list[Reply] | None"
OnError: TypeAlias = Callable[[RedisRefused], None]

MAX_PENDING = 10_000
"""The most commands that wait for their replies; more are refused at once."""

TOLD_WITHIN_S = 0.005
"""How long a command whose reply nobody waits for may be held back, to share a write with another one: a write and its
reply cost both sides more than most commands do."""

GRACE_S = 0.005
"""When replies are late, the event loop gets this long to read what may have arrived already: perhaps it was our
process that was busy, not Redis."""

UNFIT = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "NOREPLICAS", "MISCONF", "OOM command", "BUSY ")
"""Words of error replies: this Redis cannot serve requests now. On Redis 6, a script's error has the word inside it."""


pack: Callable[[tuple[Argument, ...]], bytes] = cast("Any", hiredis.pack_command)
"""Encodes a command as it is sent. The package's stub means a tuple of one argument, and names no result."""


class Wire(asyncio.Protocol):
    """A connection. Replies come in the order of the commands, so a late one delays all behind it: then the connection
    is closed, and all of them fail at once.

    Args:
        deadline_s: how long a reply may take.
        on_lost: called once, as soon as the connection is lost, with the reason.
    """

    def __init__(self, deadline_s: float, on_lost: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline_s = deadline_s
        self._on_lost = on_lost
        self._reader = hiredis.Reader(replyError=RedisRefused)
        self._transport: asyncio.Transport | None = None
        self._unwritten: list[bytes] = []
        self._writing: asyncio.Handle | None = None
        self._is_hurried = False
        self._pending: deque[tuple[asyncio.Future[Reply] | OnError | None, float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._lost: str | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def send(self, *command: Argument) -> asyncio.Future[Reply]:
        """Send a command after all that were sent before.

        Raises:
            RedisUnavailable: at once, or from the future: no reply came in time, or none can come.
            RedisRefused: from the future: the reply is an error.
        """
        return self.send_packed(pack(command))

    def send_packed(self, command: bytes) -> asyncio.Future[Reply]:
        """Like `send`, with a command that `pack` has made."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self._add(command, future)
        if not self._is_hurried:
            if self._writing is not None:
                self._writing.cancel()
            self._writing = self._loop.call_soon(self._flush)
            self._is_hurried = True
        return future

    def tell(self, *command: Argument, on_error: OnError | None = None) -> None:
        """Send a command whose reply nobody waits for, soon, and after all that were sent before it.

        Args:
            command: what is sent.
            on_error: called if the reply is an error; not if none comes.

        Raises:
            RedisUnavailable: the command cannot be sent.
        """
        self._add(pack(command), on_error)
        if self._writing is None:
            self._writing = self._loop.call_later(TOLD_WITHIN_S, self._flush)

    def _add(self, command: bytes, waiting: "asyncio.Future[Reply] | OnError | None") -> None:
        if self._lost is not None:
            raise RedisUnavailable(self._lost)
        if len(self._pending) >= MAX_PENDING:
            raise RedisUnavailable(f"{MAX_PENDING} commands are already waiting for Redis")
        self._unwritten.append(command)
        due = self._loop.time() + self._deadline_s
        self._pending.append((waiting, due))
        if self._watch is None:
            self._watch = self._loop.call_at(due, self._look, None)

    def close(self, reason: str) -> None:
        """Close the connection; whoever waits for a reply gets the reason as an error."""
        if self._lost is not None:
            return
        self._lost = reason
        for timer in (self._watch, self._writing):
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        pending, self._pending = self._pending, deque()
        for waiting, _ in pending:
            if isinstance(waiting, asyncio.Future) and not waiting.done():
                waiting.set_exception(RedisUnavailable(reason))
        self._on_lost(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. The event loop calls this and the next two methods."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        if self._lost is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.close(f"the connection was lost: {exc or 'closed by Redis'}")
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Pass each reply to the caller that waits for it."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                waiting, _ = self._pending.popleft()
                future = waiting if isinstance(waiting, asyncio.Future) and not waiting.done() else None
                if not isinstance(reply, RedisRefused):
                    if future is not None:
                        future.set_result(reply)
                    continue
                if future is not None:
                    future.set_exception(reply)
                elif waiting is not None and not isinstance(waiting, asyncio.Future):
                    self._loop.call_soon(waiting, reply)
                if any(word in reply.message for word in UNFIT):
                    return self.close(f"Redis cannot serve requests: {reply.message}")
        except (hiredis.ProtocolError, IndexError) as error:
            self.close(f"what came was not a reply of a Redis: {error}")

    def _flush(self) -> None:
        self._writing, self._is_hurried = None, False
        if self._transport is not None and self._lost is None:
            self._transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    def _look(self, busy_until: float | None) -> None:
        """Check that the oldest command has its reply in time; what was due by `busy_until` has had its grace."""
        self._watch = None
        if not self._pending:
            return
        due, now = self._pending[0][1], self._loop.time()
        if busy_until is not None and due <= busy_until:
            self.close(f"no reply within {self._deadline_s * 1000:.0f} ms")
        elif due <= now:
            self._watch = self._loop.call_later(GRACE_S, self._look, now)
        else:
            self._watch = self._loop.call_at(due, self._look, None)
