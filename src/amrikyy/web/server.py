"""uvicorn's server with what it lacks: letting runs finish before it stops."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import uvicorn


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
