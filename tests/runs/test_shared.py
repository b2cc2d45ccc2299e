"""Runs in Redis, as one process sees them."""

import asyncio
import gc
from typing import Any

from amrikyy.redis_link import RedisAddress, RedisLink
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.shared import SCRIPTS, SharedRuns
from tests.redis_server import redis_server


async def test_a_redis_that_stops_while_a_lease_is_asked_for_is_noticed_once() -> None:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    with redis_server() as redis:
        link = RedisLink(RedisAddress.parse(redis.url), scripts=SCRIPTS, deadline_s=0.2)
        await link.start()
        shared = SharedRuns(link, prefix="test", live=LiveRuns(60), keep_s=60, grace_s=1, timeout_s=60)
        redis.pause()
        assert await shared.claim("flight", "run_1").lease() is None
        await asyncio.sleep(0.05)  # what called back still refers to the replies
        gc.collect()
        assert not shared.is_settled
        await shared.close()
        await link.close()
    assert unheard == []
