"""Extends uvicorn's server: lets runs finish before it stops, and closes connections that are silent for too long."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from uvicorn.config import Config
from uvicorn.server import Server as UvicornServer

from amrikyy.web.acceptor import Acceptor
from amrikyy.web.protocol import Protocol

SWEEP_EVERY = 50
"""In ticks of a tenth of a second. Checking ten thousand connections takes a millisecond."""


class Server(UvicornServer):
    """A server that calls `drain` when it is told to stop, while it waits for its connections to end.

    If other processes accept new connections in its place, it `lingers_s` first: requests on connections that clients
    have kept open are still answered, and the connections closed after that. Otherwise a client that sends a request
    just when its connection is closed could not tell whether it was processed.
    """

    servers: list[Any]  # uvicorn only closes them, and waits until they are closed

    def __init__(self, config: Config, drain: Callable[[], Awaitable[None]], *, lingers_s: float = 0.0) -> None:
        super().__init__(config)
        self._drain = drain
        self._lingers_s = lingers_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on these sockets."""
        if sockets is None or sys.platform == "win32":  # its loop cannot watch sockets, but accepts many
            await super().startup(sockets)
            return
        await super().startup([])
        self.servers = [Acceptor(each, self._open, shared=self._lingers_s > 0) for each in sockets]

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; sweeps silent connections. Returns whether to stop."""
        if counter % SWEEP_EVERY == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.close_if_silent(now)
        return await super().on_tick(counter)

    def _open(self) -> asyncio.Protocol:
        return Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, wait for requests in progress, and close. A second Ctrl+C skips the wait."""
        for server in self.servers:
            server.close()
            if isinstance(server, Acceptor):  # so that connections just accepted are included below
                await server.wait_closed()
        if self._lingers_s and not self.force_exit:
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.close_after_next()
            await asyncio.sleep(self._lingers_s)
        draining = asyncio.ensure_future(self._drain())
        await super().shutdown(sockets)
        if self.force_exit:
            draining.cancel()
        with suppress(asyncio.CancelledError):
            await draining
