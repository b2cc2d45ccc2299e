"""What connections wait with: as asyncio's and uvicorn's own, whose place they take."""

import asyncio
from collections import deque
from typing import Any

import pytest

from amrikyy.web.flow import Flow, Pipeline, Signal


@pytest.mark.parametrize("make", [asyncio.Event, Signal])
async def test_a_signal_lets_go_on_whoever_waits_and_whoever_comes(make: type[Any]) -> None:
    signal, passed = make(), []

    async def wait(name: str) -> None:
        await signal.wait()
        passed.append(name)

    first, impatient, second = (asyncio.create_task(wait(name)) for name in ("first", "impatient", "second"))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    assert not signal.is_set()
    assert passed == []
    signal.set()
    signal.clear()  # too late for those who waited
    await asyncio.gather(first, second)
    assert passed == ["first", "second"]
    late = asyncio.create_task(wait("late"))
    await asyncio.sleep(0)
    assert not late.done()
    signal.set()
    await late
    await wait("last")
    assert passed == ["first", "second", "late", "last"]


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")


async def test_a_writer_waits_for_as_long_as_the_client_does_not_take_what_was_written() -> None:
    flow = Flow(Transport())
    await flow.drain()
    flow.pause_writing()
    flow.pause_writing()
    writers = [asyncio.create_task(flow.drain()) for _ in range(2)]
    await asyncio.sleep(0)
    assert flow.write_paused
    assert not any(writer.done() for writer in writers)
    flow.resume_writing()
    flow.resume_writing()
    await asyncio.gather(*writers)
    assert not flow.write_paused


async def test_the_socket_is_told_once_that_it_is_not_read_from() -> None:
    transport = Transport()
    flow = Flow(transport)
    for step in (flow.resume_reading, flow.pause_reading, flow.pause_reading, flow.resume_reading):
        step()
    assert transport.told == ["pause", "resume"]


@pytest.mark.parametrize("make", [deque, Pipeline])
def test_requests_are_answered_in_the_order_in_which_they_came(make: type[Any]) -> None:
    line = make()
    assert not line
    for number in range(3):
        line.appendleft(number)
    assert [line.pop() for _ in range(3)] == [0, 1, 2]
