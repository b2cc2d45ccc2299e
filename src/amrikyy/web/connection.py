"""The connection of a request, if the server exposes it: to abort it, and to learn at once of a disconnect."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Receive, Scope

CONNECTION = "amrikyy.connection"
"""The key of the connection in the ASGI scope."""


class Connection(Protocol):
    """What `web.protocol` puts into the scope, because ASGI itself has no such interface."""

    @property
    def has_whole_body(self) -> bool:
        """Whether the whole body of the request has arrived, so that reading it does not wait."""
        ...

    def take_body(self, scope: Scope) -> bytes | None:
        """The body of this scope's request, if it has arrived completely and none of it was received yet."""
        ...

    @property
    def is_backed_up(self) -> bool:
        """Whether the client reads so slowly that a writer has to wait."""
        ...

    def free_parser(self) -> None:
        """Free what reads requests until more arrives, unless it is in the middle of one."""
        ...

    def abort(self) -> None:
        """Close the connection at once, dropping what was not sent yet."""
        ...

    def when_lost(self, callback: Callable[[], object] | None) -> None:
        """Set the callback for when the client disconnects, replacing another; called at once if it has already."""
        ...


class Leaving:
    """Calls back when the client of a request disconnects, until it is stopped.

    With another server than ours it waits on `receive`, which takes a task of its own.
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
        """Whether writing may stall; assumed with another server than ours, which does not tell."""
        return self._connection is None or self._connection.is_backed_up

    def cut(self) -> None:
        """Disconnect the client."""
        if self._connection is not None:
            self._connection.abort()
        else:
            self._left()

    def stop(self) -> None:
        """Stop watching."""
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
