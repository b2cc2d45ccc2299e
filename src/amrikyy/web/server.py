"""Extends uvicorn's server: lets runs finish before it stops, and closes connections that are silent for too long."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import ceil
from typing import Any

from uvicorn.config import Config
from uvicorn.server import Server as UvicornServer

from amrikyy.web.acceptor import Acceptor
from amrikyy.web.protocol import Protocol

TICK_S = 0.1
"""How soon a second Ctrl+C is seen, as in uvicorn's own loop."""

SWEEP_EVERY = 50
"""In ticks of a tenth of a second. Checking ten thousand connections takes a millisecond."""


class Server(UvicornServer):
    """A server that calls `drain` when it is told to stop, and answers requests until that is done.

    If other processes accept new connections in its place, it accepts none from then on and `lingers_s` first: requests
    on connections that clients have kept open are still answered, and the connections closed after that. Otherwise a
    client that sends a request just when its connection is closed could not tell whether it was processed.
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
        connection = Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        if self.should_exit:
            connection.close_after_next()
        return connection

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let runs finish, then stop accepting, wait for what is still being sent, and close.

        A second Ctrl+C skips the waits.
        """
        began = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, Protocol):
                connection.close_after_next()
        if self._lingers_s:
            await self._stop_accepting()
            if not self.force_exit:
                await asyncio.sleep(self._lingers_s)
        draining = asyncio.ensure_future(self._drain())
        if not self._lingers_s:
            # Nobody else would answer probes, or those who take up a stream, cancel, or have to be told to come back.
            while not draining.done() and not self.force_exit:
                await asyncio.wait((draining,), timeout=TICK_S)
            await self._stop_accepting()
        if (limit_s := self.config.timeout_graceful_shutdown) is not None:
            waited_s = asyncio.get_running_loop().time() - began
            self.config.timeout_graceful_shutdown = max(1, ceil(limit_s - waited_s))
        await super().shutdown(sockets)
        if self.force_exit:
            draining.cancel()
        with suppress(asyncio.CancelledError):
            await draining

    async def _stop_accepting(self) -> None:
        for server in self.servers:
            server.close()
            if isinstance(server, Acceptor):  # so that connections just accepted are waited for, too
                await server.wait_closed()
