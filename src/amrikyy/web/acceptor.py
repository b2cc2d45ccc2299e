"""Accepts connections, many at a time.

libuv accepts one connection in each turn of its loop (since libuv/libuv#3696). On a busy server a turn takes
milliseconds, so that new callers stood in the kernel's queue for seconds while those who were connected had their
answers at once; and when that queue is full, the kernel forgets them, and they try again after one, three and seven
seconds.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

AT_ONCE = 100
"""Connections accepted before others have a turn; as many as asyncio's own loops accept. To open one takes 50
microseconds."""

AT_ONCE_SHARED = 8
"""The same where other processes accept from the same socket: of 64 callers who came together the first of two workers
took 59 otherwise."""

PAUSE_S = 1.0
"""How long it waits when there are no descriptors left: the kernel keeps who comes meanwhile."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """What `loop.create_server` returns, as far as uvicorn uses it.

    Args:
        listening: a socket that listens.
        protocol: makes the protocol of a connection.
        shared: other processes accept from it, too.
    """

    def __init__(
        self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol], *, shared: bool = False
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._at_once = AT_ONCE_SHARED if shared else AT_ONCE
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._paused: asyncio.TimerHandle | None = None
        listening.settimeout(0)
        self._resume()

    def close(self) -> None:
        """Accept nothing more; what was accepted stays."""
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._listening)

    @property
    def opening(self) -> int:
        """How many were accepted and are not connected yet."""
        return len(self._opening)

    async def wait_closed(self) -> None:
        """Wait until what was accepted is open."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _resume(self) -> None:
        self._paused = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(self._at_once):
            try:
                accepted, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return  # there are no more; another worker may have been faster
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                log.error("cannot_accept", reason=error.strerror, hint="raise LimitNOFILE (ulimit -n)")
                self._loop.remove_reader(self._listening)
                self._paused = self._loop.call_later(PAUSE_S, self._resume)
                return
            accepted.settimeout(0)
            task = self._loop.create_task(self._open(accepted))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, accepted)
        except OSError as error:  # the client is gone again
            accepted.close()
            log.debug("connection_not_opened", reason=error.strerror)
