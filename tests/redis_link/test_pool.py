"""redis-py's connections: enough for everybody in turn, and never a long wait for a Redis that is not there."""

import asyncio
import time

import pytest
from redis.exceptions import RedisError

from amrikyy.redis_link import RedisAddress, open_pool
from tests.redis_server import redis_server


async def test_more_callers_than_connections_wait_their_turn(redis_url: str) -> None:
    client = open_pool(RedisAddress.parse(redis_url), max_connections=4, timeout_s=5)
    others = len(await client.client_list())
    replies = await asyncio.gather(*(client.echo(str(number)) for number in range(200)))
    assert replies == [str(number).encode() for number in range(200)]
    assert len(await client.client_list()) < others + 4
    await client.aclose()


async def test_a_redis_that_is_stopped_or_gone_fails_in_time() -> None:
    with redis_server() as server:
        client = open_pool(RedisAddress.parse(server.url), timeout_s=0.2)
        await client.ping()
        for break_it in (server.pause, server.kill):
            break_it()
            began = time.monotonic()
            with pytest.raises(RedisError):
                await client.ping()
            assert time.monotonic() - began < 3
        await client.aclose()
