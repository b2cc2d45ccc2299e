"""Accepts connections, many at a time.

libuv accepts one connection in each turn of its loop (since libuv/libuv#3696). On a busy server a turn takes
milliseconds, so that new connections waited in the kernel's backlog for seconds while open ones were answered at once;
and if the backlog is full, the kernel drops them, and clients retry after one, three and seven seconds.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

AT_ONCE = 100
"""Connections accepted in one turn of the event loop; as many as asyncio's own loops accept. Opening one takes 50
microseconds."""

AT_ONCE_SHARED = 8
"""The same if other processes accept from the same socket: with more, the first of two workers took 59 of 64
connections that arrived together."""

PAUSE_S = 1.0
"""How long it pauses if there are no file descriptors left: the kernel queues connections meanwhile."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """A replacement for the server that `loop.create_server` returns, as far as uvicorn uses it.

    Args:
        listening: a listening socket.
        protocol: creates the protocol of a connection.
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
        """Accept no more connections; those accepted stay open."""
        if self._paused is not None:
            self._paused.cancel()
        self._loop.remove_reader(self._listening)

    @property
    def opening(self) -> int:
        """How many connections are accepted but not opened yet."""
        return len(self._opening)

    async def wait_closed(self) -> None:
        """Wait until all accepted connections are open."""
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
                return  # there are none left; another worker may have been faster
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
        except OSError as error:  # the client has gone already
            accepted.close()
            log.debug("connection_not_opened", reason=error.strerror)
