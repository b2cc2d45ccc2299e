"""Questions of many that are asked together."""

import asyncio

import pytest

from amrikyy.db.together import Together


class Database:
    """Answers when it is let to."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.goes_on = asyncio.Event()
        self.error: Exception | None = None

    async def squares(self, keys: list[int]) -> dict[int, int]:
        self.asked.append(keys)
        await self.goes_on.wait()
        if self.error:
            raise self.error
        return {key: key * key for key in keys if key}


async def test_who_asks_while_a_query_is_on_its_way_shares_the_next_one() -> None:
    database = Database()
    together = Together(database.squares)
    answers = [asyncio.create_task(together.get(1))]
    await asyncio.sleep(0.01)
    answers += [asyncio.create_task(together.get(key)) for key in (2, 3, 2, 0)]
    await asyncio.sleep(0.01)
    assert database.asked == [[1]]  # at once
    database.goes_on.set()
    assert await asyncio.gather(*answers) == [1, 4, 9, 4, None]
    assert database.asked == [[1], [2, 3, 0]]
    assert await together.get(4) == 16


async def test_a_query_that_fails_fails_for_all_who_asked_and_for_nobody_later() -> None:
    database = Database()
    database.goes_on.set()
    database.error = OSError("gone")
    together = Together(database.squares)
    failed = await asyncio.gather(together.get(1), together.get(2), return_exceptions=True)
    assert list(failed) == [database.error] * 2
    database.error = None
    assert await together.get(1) == 1


async def test_one_who_leaves_takes_nobody_along() -> None:
    database = Database()
    together = Together(database.squares)
    leaves, stays = (asyncio.create_task(together.get(key)) for key in (1, 1))
    await asyncio.sleep(0.01)
    leaves.cancel()
    database.goes_on.set()
    assert await stays == 1
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_a_query_has_a_bound() -> None:
    database = Database()
    database.goes_on.set()
    together = Together(database.squares)
    assert await asyncio.gather(*(together.get(key) for key in range(1, 1201))) == [key**2 for key in range(1, 1201)]
    assert [len(keys) for keys in database.asked] == [500, 500, 200]
