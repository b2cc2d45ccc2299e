"""The load generator: callers that send their next request as soon as they have the answer to the last one."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

Requests = Callable[[], bytes]
"""Gives the next request, ready to be sent."""

ANSWER_WITHIN_S = 30


@dataclass(frozen=True, slots=True)
class Marks:
    """How a stream's tokens and its end are recognised in its bytes. Every server has its own."""

    token: bytes = b"event: token\n"
    complete: bytes = b"event: complete\n"


OUR_MARKS = Marks()
"""Of our server; those of the Express server are the same."""


@dataclass(slots=True)
class Load:
    """The results of one slice.

    Attributes:
        wall_s: seconds from the first request to the last answer.
        calls: how many were answered.
        tokens: how many token events the answers had.
        latencies_ms: of each call, to its last byte.
        first_tokens_ms: of each stream, to its first token.
    """

    wall_s: float = 0.0
    calls: int = 0
    tokens: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    first_tokens_ms: list[float] = field(default_factory=list)


class WrongAnswer(Exception):
    """A server did not answer as expected."""


class Caller(asyncio.Protocol):
    """One connection, one request at a time.

    A response ends after its Content-Length, or with the last chunk of a chunked one. A stream is kept whole until its
    end, so that an event that is split over two reads is counted.
    """

    def __init__(self, requests: Requests, load: Load, marks: Marks = OUR_MARKS) -> None:
        self._requests = requests
        self._load = load
        self._marks = marks
        self._parts: list[bytes] = []
        self._needed = 0
        self._has_token = False
        self._sent_at = 0.0
        self._until = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_token: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it

    def connection_lost(self, error: Exception | None) -> None:
        """Fail: the server should not have closed it."""
        self._fail(f"the connection broke off: {error}")

    def start(self, until: float) -> None:
        """Send requests, the last one before `until` on the clock of `time.perf_counter`."""
        self._until = until
        self._send()

    def close(self) -> None:
        """Abort the connection."""
        self._transport.abort()

    def _send(self) -> None:
        self._parts.clear()
        self._needed = 0
        self._has_token = False
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests())

    def data_received(self, data: bytes) -> None:
        """Collect the response."""
        parts = self._parts
        parts.append(data)
        if not self._needed:
            received = b"".join(parts) if len(parts) > 1 else data
            ends = received.find(b"\r\n\r\n")
            if ends < 0:
                return
            head = received[:ends].lower()
            if received[9:12] != b"200":
                self._fail(received[:500].decode("latin-1"))
                return
            at = head.find(b"content-length: ")
            if at >= 0:
                self._needed = ends + 4 + int(head[at + 16 :].partition(b"\r\n")[0])
            else:
                self._needed = -1
        if self._needed > 0:
            if len(data) >= self._needed or sum(map(len, parts)) >= self._needed:
                self._answered()
            return
        if not self._has_token and self._marks.token in b"".join(parts):
            self._has_token = True
            self._load.first_tokens_ms.append((time.perf_counter() - self._sent_at) * 1000)
            if not self.has_token.done():
                self.has_token.set_result(None)
        if data.endswith(b"0\r\n\r\n") or (len(data) < 5 and b"".join(parts).endswith(b"0\r\n\r\n")):
            whole = b"".join(parts)
            if self._marks.complete not in whole:
                self._fail(whole[-500:].decode("latin-1"))
                return
            self._load.tokens += whole.count(self._marks.token)
            self._answered()

    def _answered(self) -> None:
        now = time.perf_counter()
        self._load.calls += 1
        self._load.latencies_ms.append((now - self._sent_at) * 1000)
        if now < self._until:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)

    def _fail(self, why: str) -> None:
        for future in (self.done, self.has_token):
            if not future.done():
                future.set_exception(WrongAnswer(why))
                future.exception()  # counts as retrieved even if nobody awaits it


async def connect(port: int, requests: Requests, load: Load, marks: Marks = OUR_MARKS) -> Caller:
    """Open a caller's connection."""
    loop = asyncio.get_running_loop()
    _, caller = await loop.create_connection(lambda: Caller(requests, load, marks), "127.0.0.1", port)
    return caller


async def put_load(port: int, requests: Requests, callers: int, seconds: float, marks: Marks = OUR_MARKS) -> Load:
    """Let this many callers call for `seconds`; each finishes the call it has begun.

    Raises:
        WrongAnswer: an answer is not as expected.
        TimeoutError: an answer did not come in time.
    """
    load = Load()
    connections = [await connect(port, requests, load, marks) for _ in range(callers)]
    try:
        began = time.perf_counter()
        for each in connections:
            each.start(began + seconds)
        async with asyncio.timeout(seconds + ANSWER_WITHIN_S):
            for each in connections:
                await each.done
        load.wall_s = time.perf_counter() - began
    finally:
        for each in connections:
            each.close()
    return load
