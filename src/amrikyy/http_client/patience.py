"""How long to wait for the other side."""

import asyncio
from abc import ABC, abstractmethod

from amrikyy.http_client.connection import Connection


class Patience(ABC):
    """A deadline that moves while an answer comes, on one timer: a deadline that is put off costs an assignment.

    Args:
        until: the loop time at which it ends.
    """

    __slots__ = ("_connection", "_loop", "_timer", "_timer_at", "until")

    def __init__(self, until: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.until = until

    @abstractmethod
    def passed(self) -> Exception:
        """What to raise when it has ended."""

    def move(self, until: float) -> None:
        """End at another time."""
        self.until = until
        if self._timer is not None and until < self._timer_at:
            self._timer.cancel()
            self._set()

    def watch(self, connection: Connection) -> None:
        """Begin: what goes on there fails when patience has ended."""
        self._connection = connection
        self._set()

    def stop(self) -> None:
        """The answer has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._connection = None

    def _set(self) -> None:
        self._timer_at = self.until
        self._timer = self._loop.call_at(self.until, self._look)

    def _look(self) -> None:
        if self._loop.time() < self.until:
            self._set()
        else:
            # It may have been our process that was busy: what has arrived by now is read first.
            self._timer = self._loop.call_later(0.001, self._decide, self.until)

    def _decide(self, until: float) -> None:
        if self.until > until:
            self._set()
        elif self._connection is not None:
            self._connection.fail(self.passed())
