"""What a process does besides working on workflows: it shows that it is alive, and sees what others do and leave."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from amrikyy.errors import AmrikyyError, RunCancelled
from amrikyy.workflows.changes import Changes
from amrikyy.workflows.processes import BEAT_EVERY_S, Processes
from amrikyy.workflows.store import WorkflowStore
from amrikyy.workflows.worker import Worker

if TYPE_CHECKING:
    from amrikyy.workflows.engine import Engine

log = structlog.get_logger(__name__)

POLL_S = 0.5
"""How often to look for what other processes have done in workflows that are followed here."""


class Watch:
    """Three background tasks, each of which goes on to its next turn whatever became of the last.

    Args:
        processes: who is alive.
        store: where workflows are recorded.
        worker: works on those of this process.
        changes: who follows which workflow here.
        engine: opens the engine, where it is not open yet.
    """

    def __init__(
        self,
        processes: Processes,
        store: WorkflowStore,
        worker: Worker,
        changes: Changes,
        engine: Callable[[], Awaitable["Engine"]],
    ) -> None:
        self._processes = processes
        self._store = store
        self._worker = worker
        self._changes = changes
        self._engine = engine
        self._taken: dict[str, None] = {}  # this process' since another one died, and not begun here yet
        self._unbegun: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._beat_forever(), name="workflows-beat"),
            loop.create_task(self._watch_forever(), name="workflows-watch"),
            loop.create_task(self._look_forever(), name="workflows-look"),
        ]

    async def close(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def forget(self, workflow_id: str) -> None:
        """Delete a workflow whose caller was told that it could not be started: now, or else as soon as possible.

        Raises:
            Unavailable: not now.
        """
        self._unbegun.add(workflow_id)
        await self._forget_unbegun()

    async def _beat_forever(self) -> None:
        """Show that this process is alive, whatever else it is doing: to take over many workflows takes seconds."""
        while True:
            await asyncio.sleep(BEAT_EVERY_S)
            await _watched(self._processes.beat())

    async def _watch_forever(self) -> None:
        while True:
            for look in (self._take_over, self._stop_cancelled, self._forget_unbegun):
                await _watched(look())
            await asyncio.sleep(BEAT_EVERY_S)

    async def _look_forever(self) -> None:
        """Wake those who follow a workflow that another process works on."""
        seen: dict[str, int] = {}
        while True:
            await asyncio.sleep(POLL_S)
            await _watched(self._look(seen))

    async def _look(self, seen: dict[str, int]) -> None:
        """One query for all that are followed. `seen`: how many events each had."""
        followed = self._changes.followed
        try:
            counts = await self._store.event_counts(followed) if followed else {}
        except AmrikyyError:
            self._changes.wake_all()  # they ask themselves, and are told
            return
        for workflow_id in followed:
            if workflow_id not in counts or counts[workflow_id] != seen.get(workflow_id):
                self._changes.wake(workflow_id)
        seen.clear()
        seen.update(counts)

    async def _take_over(self) -> None:
        """Go on with what dead processes have left. What cannot be begun now is tried again: nobody else will."""
        self._taken |= dict.fromkeys(await self._processes.take_over())
        if not self._taken:
            return
        own = await self._processes.owned(self._taken)  # another process may have thought this one dead meanwhile
        self._taken = {workflow_id: None for workflow_id in self._taken if workflow_id in own}
        for workflow_id in list(self._taken):
            del self._taken[workflow_id]
            if workflow_id in self._worker:
                continue
            try:
                await (await self._engine()).take_over(workflow_id)
            except BaseException:
                self._taken[workflow_id] = None  # behind the others, should it be the one to blame
                raise
            log.info("workflow_taken_over", workflow_id=workflow_id)

    async def _stop_cancelled(self) -> None:
        for workflow_id in await self._store.cancel_requests():
            self._worker.stop(workflow_id, RunCancelled("The workflow was cancelled."))

    async def _forget_unbegun(self) -> None:
        unbegun = list(self._unbegun)
        if unbegun:
            await self._store.delete(unbegun)
            self._unbegun.difference_update(unbegun)


async def _watched(look: Awaitable[None]) -> None:
    """Do what will be done again in a moment, whatever becomes of it now."""
    try:
        await look
    except AmrikyyError as error:
        if error.code != "database_unavailable":  # the database says so itself, once
            log.warning("workflows_not_watched", reason=error.message)
    except Exception:
        log.exception("workflows_not_watched")
