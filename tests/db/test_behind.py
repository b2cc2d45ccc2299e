"""Writing behind: together, shared by all who wait for it, and again as long as it fails."""

import asyncio

import pytest

from amrikyy.db import behind as module
from amrikyy.db.behind import Behind
from amrikyy.errors import AmrikyyError, Unavailable


async def nothing() -> None:
    pass


def ignore(_: AmrikyyError | None) -> None:
    pass


async def test_what_comes_at_the_same_time_is_written_together() -> None:
    waiting: list[int] = []
    written: list[list[int]] = []

    async def write() -> None:
        if waiting:
            written.append(waiting.copy())
            waiting.clear()

    behind = Behind("test", write, after_s=0.01, changed=ignore)
    for number in range(3):
        waiting.append(number)
        behind.wake()
    async with asyncio.timeout(10):
        while waiting:
            await asyncio.sleep(0.01)
    await behind.close()
    assert written == [[0, 1, 2]]


async def test_who_waits_shares_what_is_being_written_and_who_is_cancelled_breaks_nothing_off() -> None:
    may_end = asyncio.Event()
    ended: list[str] = []

    async def write() -> None:
        await may_end.wait()
        ended.append("one")

    async def write_another() -> None:
        ended.append("another")

    behind = Behind("test", nothing, after_s=0, changed=ignore)
    leaves = asyncio.create_task(behind.once(write))
    await asyncio.sleep(0)
    stays = [asyncio.create_task(behind.once(write_another)), asyncio.create_task(behind.settled())]
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    may_end.set()
    await asyncio.gather(*stays)
    assert ended == ["one"]
    await behind.close()


async def test_what_fails_is_tried_again_and_that_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_AFTER_S", 0.0)
    failures = [Unavailable("The database is away."), Unavailable("It still is.")]
    changes: list[AmrikyyError | None] = []
    first = failures[0]

    async def write() -> None:
        if failures:
            raise failures.pop(0)

    behind = Behind("test", lambda: behind.once(write), after_s=0, changed=changes.append)
    behind.wake()
    async with asyncio.timeout(10):
        while len(changes) < 2:
            await asyncio.sleep(0.01)
    assert changes == [first, None]
    assert not behind.failing
    await behind.close()


async def test_who_asks_in_the_moment_after_a_write_is_not_given_the_one_that_is_over() -> None:
    written: list[str] = []
    ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def write() -> None:
        written.append("one")
        ending.set_result(None)  # whoever waits for it goes on before anybody is told that this task is done

    async def write_another() -> None:
        written.append("another")

    async def ask_late() -> None:
        await ending
        await behind.once(write_another)

    behind = Behind("test", nothing, after_s=60, changed=ignore)
    late = asyncio.create_task(ask_late())
    await asyncio.sleep(0)
    await behind.once(write)
    await late
    await behind.close()
    assert written == ["one", "another"]


async def test_at_the_end_what_is_left_is_written_or_it_is_said_why_not() -> None:
    async def away() -> None:
        raise Unavailable("The database is away.")

    async def slow() -> None:
        await asyncio.sleep(60)

    reasons = []
    for flush, within_s in ((nothing, 10), (away, 10), (slow, 0.01)):
        behind = Behind("test", nothing, after_s=60, changed=ignore)
        reasons.append(await behind.finish(flush, within_s))
    assert reasons == [None, "The database is away.", "TimeoutError"]
