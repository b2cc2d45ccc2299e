"""What is kept, for how long, for whom, and how much of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from amrikyy.agents.agent import Request, encode_request
from amrikyy.agents.catalog.travel.requests import FlightSearch
from amrikyy.cache import Cache, Entry, key_of
from amrikyy.cache.entry import decode, encode
from amrikyy.cache.memory import MemoryCache
from amrikyy.cache.redis import RedisCache
from amrikyy.redis_link import RedisAddress, RedisLink, open_pool


def entry(result: bytes = b"{}", *, age_s: float = 0, fresh_s: float = 60, stale_s: float = 60) -> Entry:
    return Entry("m", result, ("a", "b"), time.time() - age_s, fresh_s, stale_s)


def test_an_entry_is_fresh_then_stale_then_dead() -> None:
    ages = [entry(age_s=age_s) for age_s in (0, 59, 61, 119, 121)]
    assert [each.is_fresh for each in ages] == [True, True, False, False, False]
    assert [each.is_dead for each in ages] == [False, False, False, False, True]
    assert entry(age_s=-100).age_s == 0, "another machine's clock may be ahead"
    assert decode(encode(ages[0])) == ages[0]


class Tagged(Request):
    tags: dict[str, str]


def test_keys_are_one_for_what_means_the_same_and_never_one_for_two_callers() -> None:
    def encoded(body: str) -> bytes:
        return encode_request(FlightSearch.model_validate_json(body))

    written = '"origin":"JFK","destination":"LAX"', '"date":"2999-05-04"', '"passengers":1'
    request = encoded(f"{{{','.join(written)}}}")
    mine = key_of("travel", "searchFlights", 1, "user:1", request)
    ways = f"{{{','.join(reversed(written))}}}", f"{{ {written[1]},\n {written[0]} }}"  # one passenger is the default
    assert {key_of("travel", "searchFlights", 1, "user:1", encoded(way)) for way in ways} == {mine}
    other = encoded(f'{{{",".join(written[:2])},"passengers":2}}')
    others = {
        key_of("travel", "searchFlights", 1, "user:2", request),
        key_of("travel", "searchFlights", 1, None, request),
        key_of("travel", "searchFlights", 2, "user:1", request),
        key_of("travel", "searchHotels", 1, "user:1", request),
        key_of("travel", "searchFlights", 1, "user:1", other),
    }
    assert len(others | {mine}) == 6
    orders = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert len({encode_request(Tagged(tags=tags)) for tags in orders}) == 2, "a dictionary keeps its order"
    assert mine.startswith("travel:searchFlights:v1:")
    assert "user:1" not in mine


def test_memory_is_bounded_in_bytes_and_forgets_what_was_used_longest_ago() -> None:
    size = entry(b"x" * 1000).size
    cache = MemoryCache(20 * size)
    for number in range(20):
        cache.put(str(number), entry(b"x" * 1000))
    assert cache.get("0") is not None
    cache.put("new", entry(b"x" * 1000))
    assert (cache.get("0") is not None, cache.get("1")) == (True, None)
    cache.put("huge", entry(b"x" * 10_000))
    assert cache.get("huge") is None
    assert len(cache) == 20
    assert cache.bytes == 20 * size
    cache.put("0", entry())
    cache.put("0", entry(age_s=1000))
    assert cache.get("0") is None
    assert cache.bytes == 19 * size


@pytest.mark.parametrize(
    ("pattern", "cleared"),
    [(None, 3), ("*", 3), ("travel:*", 3), ("travel:searchFlights:*", 2), ("searchHotels*", 1), ("content:*", 0),
     ("*:v1:*", 3), ("[", 0), ("travel:search?lights:*", 2), ("*" * 150 + "x", 0)],
)  # fmt: skip
async def test_clearing_is_by_glob_and_never_beyond_the_agent(pattern: str | None, cleared: int) -> None:
    cache = Cache(MemoryCache(1_000_000))
    for agent, operation, owner in (
        ("travel", "searchFlights", None), ("travel", "searchFlights", "user:1"), ("travel", "searchHotels", None),
        ("content", "generateBlogPost", None),
    ):  # fmt: skip
        cache.put(agent, key_of(agent, operation, 1, owner, b"{}"), entry())
    assert await cache.clear("travel", pattern) == cleared
    assert len(cache.memory) == 4 - cleared
    assert cache.stats["travel"]["clear"] == cleared


@asynccontextmanager
async def redis_cache(redis_url: str) -> AsyncIterator[tuple[RedisCache, MemoryCache, RedisLink, str]]:
    prefix, memory = uuid4().hex, MemoryCache(1_000_000)
    link = RedisLink(RedisAddress.parse(redis_url), deadline_s=10)
    await link.start()
    cache = RedisCache(link, open_pool(link.address, timeout_s=10, max_connections=1), memory, prefix=prefix)
    try:
        async with asyncio.timeout(10):
            yield cache, memory, link, prefix
    finally:
        async with asyncio.timeout(10):
            await cache.close()
        await link.close()


async def test_news_that_nobody_can_read_do_not_end_the_listening(redis_url: str) -> None:
    async with redis_cache(redis_url) as (_, memory, link, prefix):
        while not await link.send("PUBLISH", f"{prefix}:cache:news", b"["):  # until it listens
            await asyncio.sleep(0.01)
        for written in (b"[" * 200_000, b'{"clear": 5}', b"\xff", b"null"):
            memory.put("travel:a", entry())
            assert await link.send("PUBLISH", f"{prefix}:cache:news", written) == 1
            while len(memory):  # what cannot be read may have been about anything
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("result", [b"no JSON", b'{"a": "\xff"}', b"", b'{"a": 1} and more', b"[" * 100_000])
async def test_an_entry_whose_result_is_no_json_is_none(redis_url: str, result: bytes) -> None:
    async with redis_cache(redis_url) as (cache, *_):
        cache.put("travel:a", entry())
        assert await cache.get("travel:a") is not None
        cache.put("travel:a", entry(result))
        assert await cache.get("travel:a") is None


async def test_the_listening_ends_at_whatever_moment_it_is_stopped(redis_url: str) -> None:
    for turns in range(30):  # it connects, subscribes, and waits
        async with redis_cache(redis_url):
            for _ in range(turns):
                await asyncio.sleep(0.0002)
