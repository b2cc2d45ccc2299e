"""Write-behind: pending items are written together, a moment later, off the path of the caller that added them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from amrikyy.errors import AmrikyyError

RETRY_AFTER_S = 1.0


class Behind:
    """Writes pending items: a moment after they were added, or on request; retries for as long as that fails.

    Args:
        name: the name of its task.
        write: writes by calling `once`. It must lose nothing when it raises.
        after_s: how long an item waits to be batched.
        changed: called with the error when writing begins to fail, and with None when it succeeds again.

    Attributes:
        failing: whether the last attempt failed.
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
        """Signal that an item is pending."""
        self._work.set()

    async def once(self, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Write now, or wait for the write in progress.

        A write is a task of its own, shared by all callers: a caller that is cancelled must not abort the
        transaction. Raises what `write` raises.
        """
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_once(write))
            self._writing.add_done_callback(self._written)
        await asyncio.shield(self._writing)

    async def settled(self) -> None:
        """Wait for the write in progress, which may have begun before the newest item. Raises what it raises."""
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def close(self) -> None:
        """Stop writing in the background; items may still be pending."""
        self._closing.set()
        self._work.set()
        await self._writer

    async def finish(self, flush: Callable[[], Awaitable[None]], within_s: float) -> str | None:
        """Close, and write what is pending with `flush`.

        Returns:
            why that failed or was not done in time; None if it was.
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
            # Here, not when the task is seen to be done: a caller in between would be given a finished write, and would
            # ask again and again for what that one did not include, without ever letting the event loop run.
            self._writing = None

    def _written(self, task: asyncio.Task[None]) -> None:
        if self._writing is task:  # cancelled before it began
            self._writing = None
        if not task.cancelled():
            task.exception()  # retrieved: those who waited have raised it
