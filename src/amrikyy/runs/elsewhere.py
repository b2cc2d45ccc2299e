"""The execution of a run in another process, as this one sees it."""

import asyncio
from collections.abc import Callable

from amrikyy.errors import RunCancelled
from amrikyy.runs.execution import Execution


class ExecutionElsewhere(Execution, eq=False):
    """A copy that follows its original from when somebody first reads it or waits for its end.

    Not from when it was found: following keeps the original alive, and whoever looked it up may be refused, or have
    asked for no more than where it is. To cancel the copy is to stop following.
    """

    _begin: Callable[[], asyncio.Task[None]] | None = None

    def followed_by(self, begin: Callable[[], asyncio.Task[None]]) -> None:
        """Set what begins to follow the original."""
        self._begin = begin

    def watch(self) -> None:
        """Begin to follow the original, unless that has happened."""
        begin, self._begin = self._begin, None
        if begin is not None and not self.ended:
            task = begin()
            task.add_done_callback(self._stopped)
            self.done_by(task)

    def changed(self) -> asyncio.Future[None]:
        """A future that is done at the next change."""
        self.watch()
        return super().changed()

    def _stopped(self, _: asyncio.Task[None]) -> None:
        # Here, since a task that is cancelled before its first step never runs.
        if not self.ended:
            self.fail(self.cause or RunCancelled("The server is stopping."))
