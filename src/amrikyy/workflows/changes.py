"""Wakes those in this process who wait for something to happen in a workflow."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Changes:
    """Who waits for which workflow."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def of(self, workflow_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when something happens in a workflow, until the end of the block.

        Clear it, then read how the workflow is, then wait: so nothing is missed in between.
        """
        change = asyncio.Event()
        self._waiting.setdefault(workflow_id, set()).add(change)
        try:
            yield change
        finally:
            waiting = self._waiting[workflow_id]
            waiting.discard(change)
            if not waiting:
                del self._waiting[workflow_id]

    @property
    def followed(self) -> list[str]:
        """The workflows that somebody waits for."""
        return list(self._waiting)

    def wake(self, workflow_id: str) -> None:
        """Something has happened in this workflow."""
        for change in self._waiting.get(workflow_id, ()):
            change.set()

    def wake_all(self) -> None:
        """Something has happened that concerns all."""
        for workflow_id in self._waiting:
            self.wake(workflow_id)


async def wait_for(change: asyncio.Event, timeout_s: float) -> None:
    """Wait until something has happened, but no longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await change.wait()
