"""Writing behind: what is there is written together, a moment later, off the path of whoever handed it over."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from amrikyy.errors import AmrikyyError

RETRY_AFTER_S = 1.0


class Behind:
    """Has what is there written: a moment after it came, or when somebody wants it; again, as long as that fails.

    Args:
        name: of its task.
        write: does it, by `once`. What it raises it raises without having lost anything.
        after_s: how long what came waits for company.
        changed: told when writing begins to fail, and why; and, with None, when it succeeds again.

    Attributes:
        failing: the last attempt failed.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[], Awaitable[None]],
        *,
        after_s: float,
        changed: Callable[[AmrikyyError | None], None],
    ) -> None:
        self._write = write
        self._after_s = after_s
        self._changed = changed
        self.failing = False
        self._writing: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        self._closing = asyncio.Event()
        self._writer = asyncio.get_running_loop().create_task(self._write_forever(), name=name)

    def wake(self) -> None:
        """Say that something is there."""
        self._work.set()

    async def once(self, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Write now, or wait for what is being written.

        That is a task of its own, which all share who want it: a caller who is cancelled must not break off a
        transaction. Raises what `write` raises.
        """
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_once(write))
            self._writing.add_done_callback(self._written)
        await asyncio.shield(self._writing)

    async def settled(self) -> None:
        """Wait for what is being written, which may have begun before the latest came. Raises what writing raises."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def close(self) -> None:
        """Begin no more by itself; what is there may be left."""
        self._closing.set()
        self._work.set()
        await self._writer

    async def finish(self, flush: Callable[[], Awaitable[None]], within_s: float) -> str | None:
        """Close, and have what is left written.

        Returns:
            why that did not succeed in time; None if it did.
        """
        try:
            async with asyncio.timeout(within_s):
                await self.close()
                await flush()
        except (AmrikyyError, TimeoutError) as error:
            return str(error) or type(error).__name__
        return None

    async def _write_forever(self) -> None:
        while not self._closing.is_set():
            await self._work.wait()
            await self._pause(self._after_s)
            self._work.clear()
            try:
                await self._write()
            except AmrikyyError as error:
                self._tell(error)
                self._work.set()
                await self._pause(RETRY_AFTER_S)
            else:
                self._tell(None)

    def _tell(self, error: AmrikyyError | None) -> None:
        fails = error is not None
        if fails != self.failing:
            self.failing = fails
            self._changed(error)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _write_once(self, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await write()
        finally:
            # Here, not when the task is seen to be done: who asks in between would be given a write that is over, and
            # asking again and again for what it did not write, never let the event loop go on.
            self._writing = None

    def _written(self, task: asyncio.Task[None]) -> None:
        if self._writing is task:  # cancelled before it began
            self._writing = None
        if not task.cancelled():
            task.exception()  # whoever waited has it
