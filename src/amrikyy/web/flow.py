"""What each connection waits with: as asyncio and uvicorn have it, in 200 bytes instead of 2,700."""

import asyncio
from typing import Any


class Signal:
    """An `asyncio.Event`, whose queue of waiters alone takes 760 bytes also when nobody waits."""

    __slots__ = ("_is_set", "_waiting")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._waiting: tuple[asyncio.Future[None], ...] = ()

    def is_set(self) -> bool:
        """Whether it has been set, and not cleared since."""
        return self._is_set

    def set(self) -> None:
        """Let whoever waits, and whoever comes, go on."""
        self._is_set = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Let whoever comes wait."""
        self._is_set = False

    async def wait(self) -> None:
        """Wait until it is set, unless it is."""
        if self._is_set:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting += (waiter,)
        try:
            await waiter
        finally:
            self._waiting = tuple(each for each in self._waiting if each is not waiter)


class Flow:
    """uvicorn's `FlowControl`: whether the client's socket is read from, and whether it takes what is written."""

    __slots__ = ("_transport", "_writable", "read_paused", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._writable: Signal | None = None
        self.read_paused = False
        self.write_paused = False

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written."""
        if self._writable is not None:
            await self._writable.wait()

    def pause_reading(self) -> None:
        """Leave what the client sends to the kernel."""
        if not self.read_paused:
            self.read_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the client sends."""
        if self.read_paused:
            self.read_paused = False
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """The transport holds more than it likes."""
        if self._writable is None:
            self.write_paused = True
            self._writable = Signal()

    def resume_writing(self) -> None:
        """It does not any more, or the client is gone."""
        writable, self._writable = self._writable, None
        if writable is not None:
            self.write_paused = False
            writable.set()


class Pipeline(list[Any]):
    """Requests that came before those ahead of them were answered: of a `deque`, what uvicorn uses."""

    __slots__ = ()

    def appendleft(self, request: Any) -> None:
        """Put it last in line: the next one is popped from the right."""
        self.insert(0, request)
