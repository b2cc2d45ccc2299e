"""Redis slow or gone: nobody waits, nobody gets an error, limits hold as promised, and everything returns by itself."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from amrikyy.errors import RedisUnavailable
from amrikyy.ratelimit import Charge, Limit
from amrikyy.ratelimit.failover import FailoverLimiter
from amrikyy.ratelimit.redis import SCRIPTS, RedisLimiter
from amrikyy.redis_link import RedisAddress, RedisLink
from tests.ratelimit.counting import new_prefix, open_link
from tests.redis_server import RedisServer, redis_server

DEADLINE_S = 1.0
"""Many times the usual one, for a machine that is busy with other tests: what is late is counted in memory."""

BOUND_S = 3.0
"""Nobody waits longer for a decision."""

CHARGES = [Charge("global", "ana", Limit(100, 60)), Charge("content", "ana", Limit(30, 60))]


@pytest.fixture(autouse=True)
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amrikyy.ratelimit.failover.HEARTBEAT_S", 0.2)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that the test may stop."""
    with redis_server() as started:
        yield started


@asynccontextmanager
async def replicas(
    url: str, count: int, prefix: str | None = None, *, others: int = 0, deadline_s: float = DEADLINE_S
) -> AsyncIterator[list[FailoverLimiter]]:
    """So many processes' limiters, which all know how many they are, with the others."""
    prefix = prefix or new_prefix()
    async with AsyncExitStack() as stack:
        limiters = []
        for _ in range(count):
            link = RedisLink(RedisAddress.parse(url), scripts=SCRIPTS, deadline_s=deadline_s)
            await link.start()
            stack.push_async_callback(link.close)
            limiter = FailoverLimiter(link, prefix=prefix)
            await limiter.start()
            stack.push_async_callback(limiter.close)
            limiters.append(limiter)
        if limiters[-1].counts_in == "redis":
            await until(lambda: all(limiter.replicas == count + others for limiter in limiters))
        yield limiters


async def until(is_so: object, within_s: float = 8) -> None:
    assert callable(is_so)
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.01)


async def all_in(limiters: list[FailoverLimiter], where: str) -> None:
    await until(lambda: all(limiter.counts_in == where for limiter in limiters))


async def pause(server: RedisServer, limiters: list[FailoverLimiter]) -> None:
    """Stop it, and have everyone notice with something that does not matter: it may still be counted later."""
    server.pause()
    for limiter in limiters:
        await limiter.decide([Charge("other", "nobody", Limit(1, 1))])
        assert limiter.counts_in == "memory"


async def left(limiter: FailoverLimiter, charges: list[Charge] = CHARGES) -> list[int]:
    return [state.remaining for state in (await limiter.peek(charges)).states]


async def passed(limiter: FailoverLimiter, times: int, charges: list[Charge] = CHARGES) -> int:
    decisions = await asyncio.gather(*(limiter.decide(charges) for _ in range(times)))
    return sum(decision.refused is None for decision in decisions)


async def test_each_process_allows_its_share_while_redis_is_gone(server: RedisServer) -> None:
    async with replicas(server.url, 3) as limiters:
        server.kill()
        assert [await passed(limiter, 40) for limiter in limiters] == [10, 10, 10]
        assert all(limiter.decided_in_memory == 40 for limiter in limiters)


async def test_a_redis_that_accepts_and_never_answers_is_as_good_as_none(server: RedisServer) -> None:
    async with replicas(server.url, 2) as limiters:
        server.pause()
        began = time.monotonic()
        assert [await passed(limiter, 40) for limiter in limiters] == [15, 15]
        assert time.monotonic() - began < 2 * BOUND_S
        began = time.monotonic()
        for _ in range(50):
            await limiters[0].decide(CHARGES)
        assert time.monotonic() - began < BOUND_S, "nobody waits for it twice"
        server.resume()
        await all_in(limiters, "redis")


async def test_a_start_without_redis_is_none_the_worse_and_finds_it_later() -> None:
    with redis_server() as server:
        server.kill()
        async with replicas(server.url, 1) as (limiter,):
            assert limiter.counts_in == "memory"
            assert await passed(limiter, 40) == 30
            server.start()
            await all_in([limiter], "redis")
            assert await passed(limiter, 40) == 0


async def test_what_memory_counted_is_known_to_redis_when_it_is_back(server: RedisServer) -> None:
    large = [Charge("global", "bob", Limit(1000, 60), 100)]
    async with replicas(server.url, 2) as limiters:
        server.kill()
        assert [await passed(limiter, 7) for limiter in limiters] == [7, 7]
        assert [await passed(limiter, 3, large) for limiter in limiters] == [3, 3]
        given_back = await limiters[0].decide(CHARGES)
        await limiters[0].refund(given_back)
        server.start()
        await all_in(limiters, "redis")
        async with asyncio.timeout(2):
            while await left(limiters[1]) != [86, 16] or await left(limiters[0], large) != [400]:
                await asyncio.sleep(0.01)
        assert 40 < (await limiters[1].peek(CHARGES)).states[0].reset_s < 60, "and when it was used"
        assert await passed(limiters[0], 40) == 16


async def test_what_was_told_is_not_told_twice(server: RedisServer) -> None:
    async with replicas(server.url, 1, deadline_s=0.5) as (limiter,):
        for _ in range(3):
            await pause(server, [limiter])
            assert await passed(limiter, 5) == 5
            server.resume()
            await all_in([limiter], "redis")
        assert await left(limiter) == [85, 15]


async def test_what_was_told_and_not_confirmed_counts_once(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, replies = RedisLimiter.add, 0

    def add_and_lose_the_reply(*args: Any) -> Awaitable[object]:
        nonlocal replies
        replies += 1
        told = add(*args)

        async def lost() -> None:
            await told
            if replies < 3:
                raise RedisUnavailable("no reply came")

        return lost()

    monkeypatch.setattr(RedisLimiter, "add", add_and_lose_the_reply)
    async with replicas(server.url, 1) as (limiter,):
        await pause(server, [limiter])
        assert await passed(limiter, 5) == 5
        server.resume()
        await until(lambda: replies == 1)
        await all_in([limiter], "memory")
        assert await passed(limiter, 2) == 2
        await until(lambda: replies >= 3)
        await all_in([limiter], "redis")
        assert await left(limiter) == [93, 23]


async def test_thousands_of_counters_are_told_without_stopping_redis(server: RedisServer) -> None:
    limit = Limit(100, 60)
    async with replicas(server.url, 1, deadline_s=0.5) as (limiter,):
        await pause(server, [limiter])
        for turn in range(3):
            for number in range(5000):
                await limiter.decide([Charge("global", f"user:{number}", limit, turn + 1)])
        server.resume()
        await all_in([limiter], "redis")
        for number in (0, 2500, 4999):
            assert await left(limiter, [Charge("global", f"user:{number}", limit)]) == [94]


async def test_processes_that_come_and_go_are_seen(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amrikyy.ratelimit.failover.HEARD_S", 2)
    monkeypatch.setattr("amrikyy.redis_link.link.LAST_RETRY_S", 0.1)
    prefix = new_prefix()
    async with replicas(server.url, 1, prefix) as (limiter,):
        async with replicas(server.url, 2, prefix, others=1) as others:
            assert [other.replicas for other in others] == [3, 3]
            server.kill()
            await asyncio.sleep(2.2)
            server.start()
            seen = set()
            async with asyncio.timeout(8):
                while server.ask(f"ZCARD {prefix}:replicas") != b":3\r\n":
                    seen |= {other.replicas for other in [limiter, *others]}
                    await asyncio.sleep(0.005)
            assert seen <= {3}, "a Redis that forgot everything has still to hear from the others"
        assert server.ask(f"ZCARD {prefix}:replicas") == b":1\r\n", "who leaves says so"
        await until(lambda: limiter.replicas == 1)


async def test_an_error_of_redis_is_no_error_of_the_caller(server: RedisServer) -> None:
    prefix = new_prefix()
    async with replicas(server.url, 1, prefix) as (limiter,):
        server.ask(f"SET {prefix}:{{ana}} nonsense")
        assert await passed(limiter, 40) == 30
        await asyncio.sleep(0.5)
        await all_in([limiter], "memory")  # what it cannot be told it does not count
        server.ask(f"DEL {prefix}:{{ana}}")
        await all_in([limiter], "redis")
        assert await left(limiter) == [70, 0]


async def test_what_redis_counted_and_cannot_give_back_stays_counted(server: RedisServer) -> None:
    async with replicas(server.url, 1) as (limiter,):
        decision = await limiter.decide(CHARGES)
        assert decision.counted_in == "redis"
        server.kill()
        await limiter.refund(decision)
        await all_in([limiter], "memory")
        await limiter.refund(decision)
        assert (await limiter.peek(CHARGES)).states[1].remaining == 30


async def test_redis_killed_stopped_and_restarted_under_load(server: RedisServer) -> None:
    limits = {"a": Limit(50, 1), "b": Limit(2000, 2)}
    keys = [f"user:{number}" for number in range(20)]
    admitted: list[tuple[float, str, str]] = []
    waits: list[float] = []
    is_over = False

    async def caller(limiter: FailoverLimiter, number: int) -> None:
        turn = number
        while not is_over:
            turn += 1
            key = keys[turn % len(keys)]
            began = time.monotonic()
            decision = await limiter.decide([Charge(name, key, limit) for name, limit in limits.items()])
            waits.append(time.monotonic() - began)
            if decision.refused is None:
                admitted.extend((began, name, key) for name in limits)
            await asyncio.sleep(0.002)

    async with replicas(server.url, 2) as limiters, asyncio.TaskGroup() as load:
        for number in range(40):
            load.create_task(caller(limiters[number % 2], number))
        await asyncio.sleep(0.5)
        for _ in range(2):
            server.pause()
            await asyncio.sleep(0.5)
            server.resume()
            await asyncio.sleep(0.6)
            server.kill()
            await asyncio.sleep(0.2)
            server.start()
            await asyncio.sleep(0.6)
        await all_in(limiters, "redis")
        is_over = True
    assert len(waits) > 2000
    assert max(waits) < BOUND_S
    for name, limit in limits.items():
        for key in keys:
            times = sorted(at for at, *which in admitted if which == [name, key])
            windows = Counter(sum(at <= other < at + limit.window_s - BOUND_S for other in times) for at in times)
            assert max(windows) <= 2 * limit.count


async def test_closing_leaves_no_task_behind(server: RedisServer) -> None:
    before = asyncio.all_tasks()
    async with replicas(server.url, 1):
        assert len(asyncio.all_tasks()) > len(before)
    assert asyncio.all_tasks() == before
    link = await open_link(server.url)
    await link.close()
    assert asyncio.all_tasks() == before
