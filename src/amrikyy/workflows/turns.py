"""How many workflows work at the same time, in all and for one caller."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from amrikyy.errors import Unavailable


class Turns:
    """Turns to work, first come first served, except that a caller with all its turns taken holds up nobody else.

    Args:
        size: how many may work at a time in this process.
        per_caller: how many of one caller.
        line: how many may wait.
    """

    def __init__(self, size: int, per_caller: int, line: int) -> None:
        self.size = size
        self.per_caller = per_caller
        self.line = line
        self.working = 0
        self.waiting = 0
        self._all = asyncio.Semaphore(size)
        self._callers: dict[str, tuple[asyncio.Semaphore, int]] = {}

    def check(self, here: int, caller: str) -> None:
        """Make sure that there is room for one more; half of the line is left to other callers.

        Args:
            here: how many there are, those included that have only just been let in.
            caller: whose it would be.

        Raises:
            Unavailable: there is none.
        """
        if self.waiting >= self.line or here >= self.size + self.line:
            raise Unavailable(
                f"The server is full: {self.working} workflows are in progress and {self.waiting} are waiting. "
                "Try again shortly, or raise MAX_QUEUED_WORKFLOWS.",
                code="server_full",
                retry_after_s=5,
            )
        _, own = self._callers.get(caller, (None, 0))
        if own - self.per_caller >= max(1, self.line // 2):
            raise Unavailable(
                f"{own} of your workflows are already here, most of them waiting. Send more when some have ended.",
                code="server_full",
                retry_after_s=5,
            )

    @asynccontextmanager
    async def take(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the end of the block."""
        own, users = self._callers.get(caller) or (asyncio.Semaphore(self.per_caller), 0)
        self._callers[caller] = (own, users + 1)
        self.waiting += 1
        waits = True
        try:
            async with own, self._all:
                self.waiting -= 1
                self.working += 1
                waits = False
                try:
                    yield
                finally:
                    self.working -= 1
        finally:
            self.waiting -= waits
            own, users = self._callers[caller]
            if users == 1:
                del self._callers[caller]
            else:
                self._callers[caller] = (own, users - 1)
