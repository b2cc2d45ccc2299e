"""Load at a given rate: a request is sent when it is due, whether or not earlier ones are answered.

Its latency counts from the time it was due. Callers who wait for their answers send less the slower the server is, and
so do not see what callers who came meanwhile would have met ("coordinated omission").
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from bench.load import Requests

MAX_CONNECTIONS = 4000
ANSWERED_WITHIN_S = 10.0
"""Seconds after the last request was due; what is not answered by then is an error."""

OK = b"200"


@dataclass(slots=True)
class OpenLoad:
    """The results at one rate.

    Attributes:
        offered: how many requests were due.
        latencies_ms: of the requests answered with 200, from when they were due to the last byte.
        lags_ms: how late requests were sent: what the load generator itself, or the lack of a connection, adds.
        errors: requests with another status, a broken connection, or no answer.
        connections: how many were opened.
        wall_s: seconds from when the first request was due to the last answer.
    """

    offered: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    lags_ms: list[float] = field(default_factory=list)
    errors: int = 0
    connections: int = 0
    wall_s: float = 0.0


def arrivals(per_s: float, seconds: float, seed: int = 0) -> Iterator[float]:
    """Seconds from the beginning at which requests are due, independent of one another (a Poisson process)."""
    chance = random.Random(seed)  # noqa: S311 - the same every time
    due = chance.expovariate(per_s)
    while due < seconds:
        yield due
        due += chance.expovariate(per_s)


async def put_rate(port: int, requests: Requests, per_s: float, seconds: float) -> OpenLoad:
    """Offer a server this many requests a second."""
    load = OpenLoad()
    pool = _Pool(port, requests, load)
    began = time.perf_counter()
    for due in arrivals(per_s, seconds):
        if (ahead_s := began + due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead_s)
        load.offered += 1
        pool.ask(began + due)
    try:
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            await pool.idle()
    except TimeoutError:
        pass
    load.wall_s = time.perf_counter() - began
    pool.close()
    load.errors = load.offered - len(load.latencies_ms)
    return load


class _Pool:
    """As many connections as are needed at a time."""

    def __init__(self, port: int, requests: Requests, load: OpenLoad) -> None:
        self.requests = requests
        self.load = load
        self._port = port
        self._free: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._waiting: deque[float] = deque()
        self._open = 0
        self._busy = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()

    def ask(self, due: float) -> None:
        """Send a request that was due at this time."""
        self._busy += 1
        self._idle.clear()
        if self._free:
            self._free.pop().ask(due)
            return
        self._waiting.append(due)
        if self._open < MAX_CONNECTIONS:
            self._open += 1
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def idle(self) -> None:
        """Wait until all requests are answered."""
        while self._busy:
            await self._idle.wait()

    def free(self, connection: "_Connection") -> None:
        """Note that a connection has its answer."""
        self._done()
        self.reuse(connection)

    def reuse(self, connection: "_Connection") -> None:
        """Send the next waiting request on a connection, or keep it until there is one."""
        if self._waiting:
            connection.ask(self._waiting.popleft())
        else:
            self._free.append(connection)

    def lost(self, connection: "_Connection", *, asked: bool) -> None:
        """Remove a connection that has broken."""
        self._open -= 1
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if asked:
            self._done()

    def close(self) -> None:
        """Abort all connections, also those without their answer."""
        for task in self._tasks:
            task.cancel()
        for each in list(self._all):
            each.abort()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError:
            self._open -= 1
            if self._waiting:
                self._waiting.popleft()
                self._done()
            return
        self.load.connections += 1
        self._all.add(connection)
        self.reuse(connection)

    def _done(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()


class _Connection(asyncio.Protocol):
    """One request at a time; an answer ends after its Content-Length."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._due: float | None = None
        self._received = b""
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it

    def connection_lost(self, _: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._pool.lost(self, asked=self._due is not None)

    def abort(self) -> None:
        self._closed = True
        self._transport.abort()

    def ask(self, due: float) -> None:
        self._due = due
        self._received = b""
        self._pool.load.lags_ms.append((time.perf_counter() - due) * 1000)
        self._transport.write(self._pool.requests())

    def data_received(self, data: bytes) -> None:
        self._received = received = self._received + data if self._received else data
        ends = received.find(b"\r\n\r\n")
        if ends < 0 or self._due is None:
            return
        head = received[:ends].lower()
        at = head.find(b"content-length: ")
        if at < 0 or len(received) < ends + 4 + int(head[at + 16 :].partition(b"\r\n")[0]):
            return
        if received[9:12] == OK:
            self._pool.load.latencies_ms.append((time.perf_counter() - self._due) * 1000)
        self._due = None
        self._pool.free(self)
