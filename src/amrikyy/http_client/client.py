"""The client: a connection pool, deadlines, and a request from beginning to end."""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

from amrikyy.http_client.connection import BrokenOff, Connection, ConnectTimeout, Head, NotConnected, Receiver, TooLarge
from amrikyy.http_client.patience import Patience
from amrikyy.http_client.proxy import Proxy
from amrikyy.http_client.request import Origin, encode_headers, encode_request

KEEP_ALIVE_S = 30.0
"""How long an idle connection is kept. Servers commonly close theirs after 60 s or more."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status


class HttpClient:
    """Sends requests. It keeps no cookies, follows no redirects, and uses no proxy but the one it is given.

    Args:
        max_connections: the most open connections, to all servers together; further requests wait for one.
        tls: how servers are verified; by default, with the system's certificate authorities.
        proxy: used for servers over HTTPS.
    """

    def __init__(
        self, *, max_connections: int = 100, tls: ssl.SSLContext | None = None, proxy: Proxy | None = None
    ) -> None:
        self._max_connections = max_connections
        self._tls = tls
        self._proxy = proxy
        self._open: set[Connection] = set()
        self._connecting = 0
        self._idle: dict[Origin, list[Connection]] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def busy(self) -> int:
        """How many connections are in use or being opened."""
        return self._connecting + len(self._open) - sum(map(len, self._idle.values()))

    async def exchange(
        self,
        method: str,
        url: str,
        receiver: Receiver,
        *,
        headers: bytes = b"",
        body: bytes | None = None,
        connect_s: float,
        patience: Patience,
    ) -> None:
        """Send a request, and pass the response on until its end.

        Cancelling closes the connection at once. A request that was sent on a connection which the server had just
        closed is sent again, on a new one.

        Args:
            method, url: as in HTTP.
            receiver: receives the response.
            headers: header lines, from `encode_headers`.
            body: its Content-Length is added.
            connect_s: seconds to open a connection, or to wait for a free one.
            patience: the deadline of the response, including the time to connect.

        Raises:
            ConnectTimeout, NotConnected, BrokenOff: there is no response, or not all of it.
            ValueError: the URL is invalid.
            Exception: what the receiver or `patience.passed` raised.
        """
        origin, request = encode_request(method, url, headers, body)
        body = None  # kilobytes that a stream of minutes need not hold, nor the connection once the response has begun
        connection = self._take_idle(origin) or await self._connection_to(origin, connect_s)
        while True:
            done = connection.send(request, receiver, patience)
            request = b""
            try:
                return await done
            except BrokenOff as error:
                if not error.untouched:
                    raise
                request = connection.unanswered
            except asyncio.CancelledError:
                connection.give_up(done)
                raise
            connection = await self._connection_to(origin, connect_s, new=True)

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        connect_s: float,
        timeout_s: float,
        max_body: int,
    ) -> Reply:
        """Send a request and return the complete response.

        Args:
            method, url, body, connect_s: as for `exchange`.
            headers: by name.
            timeout_s: for the whole exchange.
            max_body: the most bytes of the body.

        Raises:
            TimeoutError: it took longer.
            NotConnected, BrokenOff, TooLarge: there is no response, not all of it, or too much.
            ValueError: the URL is invalid, or a header has characters that are not allowed.
        """
        collected = Collector(max_body)
        await self.exchange(
            method, url, collected, headers=encode_headers(headers or {}), body=body, connect_s=connect_s,
            patience=_Until(timeout_s),
        )  # fmt: skip
        return collected.reply()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        self._closed = True
        for connection in list(self._open):
            connection.fail(NotConnected("the client was closed"))
        if self._sweeping is not None:
            self._sweeping.cancel()
        await asyncio.sleep(0)  # lets the transports close their sockets

    # --- Connections ---

    def _take_idle(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()  # the most recently used one, which is the least likely to have been closed
            if connection.is_usable:
                return connection
        return None

    async def _connection_to(self, origin: Origin, connect_s: float, *, new: bool = False) -> Connection:
        try:
            async with asyncio.timeout(connect_s):
                while True:
                    if not new and (connection := self._take_idle(origin)) is not None:
                        return connection
                    if self._closed:
                        raise NotConnected("the client was closed")
                    if len(self._open) + self._connecting < self._max_connections or self._close_an_idle_one():
                        return await self._connect(origin)
                    await self._freed()
        except TimeoutError:
            raise ConnectTimeout(f"no connection within {connect_s:g} s") from None

    async def _connect(self, origin: Origin) -> Connection:
        self._connecting += 1
        connection = None
        try:
            connection = await self._open_to(origin)
        except OSError as error:
            raise NotConnected(type(error).__name__) from error
        finally:
            self._connecting -= 1
            if connection is None:  # else no place has become free, and who was woken would lose its place in line
                self._wake_one()
        self._open.add(connection)
        return connection

    async def _open_to(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        tls = await self._tls_context() if origin.tls else None

        def make() -> Connection:
            return Connection(origin, self._keep, self._forget)

        if self._proxy is not None and self._proxy.is_for(origin):
            tunnel = await self._proxy.tunnel(origin)
            _, connection = await loop.create_connection(make, sock=tunnel, ssl=tls, server_hostname=origin.host)
        else:
            _, connection = await loop.create_connection(make, origin.host, origin.port, ssl=tls)
        return connection

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)  # reads the authorities' certificates
        return self._tls

    async def _freed(self) -> None:
        free: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(free)
        try:
            await free
        except asyncio.CancelledError:
            if free.done() and not free.cancelled():
                self._wake_one()  # it was our turn, and passes to the next
            raise

    def _wake_one(self) -> None:
        while self._waiting:
            free = self._waiting.popleft()
            if not free.done():
                free.set_result(None)
                return

    def _keep(self, connection: Connection) -> None:
        connection.idle_since = connection.loop.time()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweeping is None:
            self._sweeping = connection.loop.call_later(KEEP_ALIVE_S, self._sweep)
        if self._waiting:
            self._wake_one()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        for origin, idle in list(self._idle.items()):
            if connection in idle:
                idle.remove(connection)
            if not idle:
                del self._idle[origin]
        self._wake_one()

    def _close_an_idle_one(self) -> bool:
        idle = [connection for connections in self._idle.values() for connection in connections]
        if not idle:
            return False
        oldest = min(idle, key=lambda connection: connection.idle_since)
        oldest.abort()
        self._forget(oldest)
        return True

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        self._sweeping = None
        for connections in list(self._idle.values()):
            for connection in list(connections):
                if now - connection.idle_since >= KEEP_ALIVE_S:
                    connection.abort()
        if self._idle:
            self._sweeping = asyncio.get_running_loop().call_later(KEEP_ALIVE_S, self._sweep)


class _Until(Patience):
    """Patience for a fixed time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(monotonic() + seconds)

    def passed(self) -> Exception:
        return TimeoutError()


class Collector:
    """Collects a complete response.

    Args:
        max_body: the most bytes of its body; with more, the exchange ends with `TooLarge`.
    """

    def __init__(self, max_body: int) -> None:
        self._left = max_body
        self._head: Head | None = None
        self._parts: list[bytes] = []

    def head(self, head: Head) -> None:
        """The response begins."""
        self._head = head

    def data(self, data: bytes) -> None:
        """More of the body."""
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge("the answer is larger than any that is expected")
        self._parts.append(data)

    def reply(self) -> Reply:
        """The response that was received."""
        assert self._head is not None
        return Reply(self._head, b"".join(self._parts))
