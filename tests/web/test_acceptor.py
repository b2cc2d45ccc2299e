"""Connections are accepted as they come, also by a busy process."""

import asyncio
import errno
import socket
from collections import Counter
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from amrikyy.web import acceptor
from amrikyy.web.acceptor import AT_ONCE_SHARED, Acceptor


class Counted(asyncio.Protocol):
    """Notes in which turn of the event loop it was connected, and how."""

    turn = 0

    def __init__(self, connected: list[int]) -> None:
        self.connected = connected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connected.append(Counted.turn)
        assert transport.get_extra_info("peername")[0] == "127.0.0.1"
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def data_received(self, data: bytes) -> None:
        """Nothing is said."""


async def turns_of(callers: int, *, shared: bool) -> list[int]:
    """In which turns so many callers were connected who came together."""
    loop = asyncio.get_running_loop()
    connected: list[int] = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        waiting = [socket.create_connection(listening.getsockname()) for _ in range(callers)]

        def turn() -> None:
            Counted.turn += 1
            loop.call_soon(turn)

        turn()
        server = Acceptor(listening, lambda: Counted(connected), shared=shared)
        async with asyncio.timeout(10):
            while len(connected) < callers:
                await asyncio.sleep(0)
        server.close()
        await server.wait_closed()
        for each in waiting:
            each.close()
    return connected


def test_callers_who_come_together_are_accepted_together() -> None:
    turns = uvloop.run(turns_of(40, shared=False))
    assert turns[-1] - turns[0] <= 2, "libuv itself accepts one a turn"


def test_who_listens_beside_others_leaves_some_to_them() -> None:
    turns = uvloop.run(turns_of(40, shared=True))
    assert max(Counter(turns).values()) == AT_ONCE_SHARED


class Exhausted(socket.socket):
    """A listening socket that finds no descriptor left, once."""

    failures = 1

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_descriptors_it_says_so_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "PAUSE_S", 0.01)
    connected: list[int] = []
    with Exhausted() as listening, capture_logs() as logs:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = Acceptor(listening, lambda: Counted(connected))
        with socket.create_connection(listening.getsockname()):
            async with asyncio.timeout(10):
                while not connected:
                    await asyncio.sleep(0.001)
        server.close()
        await server.wait_closed()
    assert [line["event"] for line in logs] == ["cannot_accept"]


async def test_who_was_accepted_is_connected_before_it_is_closed() -> None:
    connected: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()):
        server = Acceptor(listening, lambda: Counted(connected))
        async with asyncio.timeout(10):
            while not server.opening:
                await asyncio.sleep(0)
        assert not connected
        server.close()
        await server.wait_closed()
        assert len(connected) == 1


async def test_what_comes_after_the_end_is_left_to_others() -> None:
    connected: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Acceptor(listening, lambda: Counted(connected))
        server.close()
        with socket.create_connection(listening.getsockname()):
            await asyncio.sleep(0.05)
            assert not connected
            listening.setblocking(True)
            another, _ = listening.accept()
            another.close()
