"""Runs in Redis, as one process sees them."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from amrikyy.redis_link import RedisAddress, RedisLink
from amrikyy.runs.execution import Execution
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Run
from amrikyy.runs.shared import SCRIPTS, SharedRuns
from amrikyy.runs.shared.encoding import note_of
from amrikyy.runs.sharing import Leader
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


@asynccontextmanager
async def opened(redis_url: str) -> AsyncIterator[tuple[SharedRuns, RedisLink, str]]:
    prefix = uuid4().hex
    link = RedisLink(RedisAddress.parse(redis_url), scripts=SCRIPTS, deadline_s=10)
    await link.start()
    shared = SharedRuns(link, prefix=prefix, live=LiveRuns(60), keep_s=60, grace_s=1, timeout_s=60)
    yield shared, link, prefix
    await shared.close()
    await link.close()


@pytest.mark.parametrize("written", [b"", b"nonsense", b"\xff\xfe x", b"a b c", b"../../x y", b"x" * 10_000])
async def test_what_somebody_else_has_written_in_the_place_of_a_lease_holds_up_nobody(
    redis_url: str, written: bytes
) -> None:
    async with opened(redis_url) as (shared, link, prefix):
        await link.send("SET", f"{prefix}:flight:flight", written)
        lease = await shared.claim("flight", "run_1").lease()
        assert lease is not None
        assert lease.leader is None
        assert await link.send("GET", f"{prefix}:flight:flight") == f"run_1 {shared.process}".encode()


@pytest.mark.parametrize("written", [b"nonsense", b"\x93\x01\xc0\xc0", b"\x91" * 100_000])
async def test_events_that_nobody_can_read_are_those_of_a_run_that_is_lost(redis_url: str, written: bytes) -> None:
    async with opened(redis_url) as (shared, link, prefix):
        execution = Execution(streams=True)
        run = Run("user:1", "content", "blog", {}, 60, execution)
        await link.send("SET", f"{prefix}:run:{{{run.id}}}", note_of(run, run.id, "elsewhere"))
        await link.send("XADD", f"{prefix}:run:{{{run.id}}}:events", "1-0", "b", written)
        assert await shared.find(run.id) is None
        assert not await shared.follow(Leader(run.id, "elsewhere"), Execution(streams=True))
        await link.send("SET", f"{prefix}:run:{{{run.id}}}", written)
        assert await shared.find(run.id) is None
