"""uvicorn with two things that it lacks: cutting a connection, and letting runs finish before it stops."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from amrikyy.web.sse import ABORT


class Protocol(HttpToolsProtocol):
    """Puts `transport.abort` into the scope: ASGI itself cannot end a response that its client does not read."""

    def on_message_begin(self) -> None:
        """Extend the scope that the base class has just made."""
        super().on_message_begin()
        scope: Any = self.scope
        scope[ABORT] = self.transport.abort


class Server(uvicorn.Server):
    """A server that calls `drain` when it was told to stop, while it waits for its connections to end."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, wait for what is in progress, close. A second Ctrl+C does not wait."""
        draining = asyncio.ensure_future(self._drain())
        await super().shutdown(sockets)
        if self.force_exit:
            draining.cancel()
        with suppress(asyncio.CancelledError):
            await draining
