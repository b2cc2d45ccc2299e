"""Limiters in memory and in Redis."""

from collections.abc import AsyncIterator

import pytest

from amrikyy.ratelimit import Limiter, MemoryLimiter
from amrikyy.ratelimit.redis import RedisLimiter
from tests.ratelimit.counting import Clock, MakeLimiter, new_prefix, open_link


@pytest.fixture(params=["memory", "redis"])
async def make_limiter(request: pytest.FixtureRequest) -> AsyncIterator[MakeLimiter]:
    """Makes limiters that have counted nothing yet, by the test's clock."""
    if request.param == "memory":
        yield lambda clock: MemoryLimiter(clock=clock)
        return
    link = await open_link(request.getfixturevalue("redis_url"), deadline_s=5)

    def make(clock: Clock) -> Limiter:
        return RedisLimiter(link, prefix=new_prefix(), clock=clock)

    yield make
    await link.close()
