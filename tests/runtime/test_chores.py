"""What the process does beside answering goes on, whatever happens to a part of it."""

import asyncio

import pytest

from amrikyy.errors import Unavailable
from amrikyy.runtime import chores


async def test_a_chore_that_fails_keeps_neither_the_others_nor_its_own_next_turn_from_being_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chores, "PURGE_EVERY_S", 0.001)
    done: list[str] = []
    again = asyncio.Event()

    async def away() -> int:
        done.append("away")
        raise Unavailable("The database is away.")

    async def broken() -> int:
        done.append("broken")
        raise TimeoutError

    async def good() -> int:
        done.append("good")
        if len(done) >= 6:
            again.set()
        return 1

    upkeep = asyncio.create_task(chores.upkeep({"away": away, "broken": broken, "good": good}))
    async with asyncio.timeout(10):
        await again.wait()
    upkeep.cancel()
    assert done[:6] == ["away", "broken", "good"] * 2
