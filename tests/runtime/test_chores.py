"""What the process does beside answering goes on, whatever happens to a part of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from amrikyy.errors import Unavailable
from amrikyy.runtime import chores


async def test_a_chore_that_fails_keeps_neither_the_others_nor_its_own_next_turn_from_being_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chores, "PURGE_EVERY_S", 0.001)
    monkeypatch.setattr(chores, "FIRST_PURGE_AFTER_S", (0.001, 0.001))
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


async def lines_of_upkeep(monkeypatch: pytest.MonkeyPatch, *failing: str) -> list[dict[str, Any]]:
    """What is logged about one turn in which these fail, of a, b and c."""
    monkeypatch.setattr(chores, "FIRST_PURGE_AFTER_S", (0.001, 0.001))

    def deletion(name: str) -> Callable[[], Awaitable[int]]:
        async def delete() -> int:
            if name in failing:
                raise Unavailable("The database is away.")
            return 2

        return delete

    with capture_logs() as logs:
        upkeep = asyncio.create_task(chores.upkeep({name: deletion(name) for name in "abc"}))
        async with asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.001)
        upkeep.cancel()
    return [dict(line) for line in logs]


async def test_what_fails_for_one_reason_is_one_line_and_is_not_said_to_be_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = {"event": "upkeep_failed", "reason": "The database is away.", "log_level": "error"}
    assert await lines_of_upkeep(monkeypatch, "a", "b", "c") == [{**failed, "chores": ["a", "b", "c"]}]
    assert await lines_of_upkeep(monkeypatch, "b") == [{**failed, "chores": ["b"]}]
    done = {"event": "upkeep_done", "log_level": "info"}
    assert await lines_of_upkeep(monkeypatch) == [{**done, "a": 2, "b": 2, "c": 2}]


async def test_a_process_that_does_not_live_for_an_hour_deletes_what_is_too_old_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chores, "FIRST_PURGE_AFTER_S", (0.001, 0.001))
    done = asyncio.Event()

    async def delete() -> int:
        done.set()
        return 0

    upkeep = asyncio.create_task(chores.upkeep({"runs": delete}))
    async with asyncio.timeout(10):
        await done.wait()
    upkeep.cancel()


async def test_a_ledger_that_cannot_be_added_up_is_said_once_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "SUM_UP_EVERY_S", 0.001)
    turns = 0
    ended = asyncio.Event()

    async def add_up() -> None:
        nonlocal turns
        turns += 1
        if turns in (1, 2, 4):
            raise Unavailable("The database is away.") if turns < 4 else TimeoutError
        if turns == 6:
            ended.set()

    with capture_logs() as logs:
        work = asyncio.create_task(chores.sum_up(add_up))
        async with asyncio.timeout(10):
            await ended.wait()
        work.cancel()
    assert [(line["event"], line["chores"]) for line in logs] == [("upkeep_failed", ["sums"])] * 2
