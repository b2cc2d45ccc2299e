"""The connection of a request, where the server lets one see it: to cut it, and to learn at once that it is gone."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Receive, Scope

CONNECTION = "amrikyy.connection"
"""The key in the ASGI scope."""


class Connection(Protocol):
    """What `web.protocol` puts into the scope. ASGI itself has neither."""

    @property
    def has_whole_body(self) -> bool:
        """Whether the body of the request has arrived, so that nobody will wait for it."""
        ...

    def take_body(self, scope: Scope) -> bytes | None:
        """The body of the request of this scope, if all of it has arrived, and nobody has received any of it."""
        ...

    @property
    def is_backed_up(self) -> bool:
        """Whether the client takes so little that whoever writes must wait."""
        ...

    def abort(self) -> None:
        """Close the connection without waiting for what was not sent."""
        ...

    def when_lost(self, callback: Callable[[], object] | None) -> None:
        """Call this when the client has gone: one callback at a time, at once if it is gone already."""
        ...


class Leaving:
    """Calls back when the client of a request leaves, until it is stopped.

    A server that is not ours is asked through `receive`, which takes a task of its own.
    """

    __slots__ = ("_callback", "_connection", "_task", "has_left")

    def __init__(self, scope: Scope, receive: Receive, callback: Callable[[], object]) -> None:
        self.has_left = False
        self._callback = callback
        self._connection: Connection | None = scope.get(CONNECTION)
        self._task: asyncio.Task[Any] | None = None
        if self._connection is not None:
            self._connection.when_lost(self._left)
        else:
            self._task = asyncio.get_running_loop().create_task(_disconnected(receive))
            self._task.add_done_callback(lambda task: None if task.cancelled() else self._left())

    @property
    def may_stall(self) -> bool:
        """Whether writing to it may take time; a server that is not ours does not say."""
        return self._connection is None or self._connection.is_backed_up

    def cut(self) -> None:
        """Make it leave."""
        if self._connection is not None:
            self._connection.abort()
        else:
            self._left()

    def stop(self) -> None:
        """Nobody is interested any more."""
        if self._connection is not None:
            self._connection.when_lost(None)
        elif self._task is not None:
            self._task.cancel()

    def _left(self) -> None:
        if not self.has_left:
            self.has_left = True
            self._callback()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
