"""The server on Redis: one limit over all processes, and nobody who notices when Redis goes."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from tests.model_server import ModelServer
from tests.redis_server import RedisServer, redis_server
from tests.serving import MakeSettings, serve
from tests.web.test_models_behind import settings_for

BLOG = {"topic": "AI in Travel", "length": "short"}
PATH = "/api/agents/content/generateBlogPost"

BOUND_S = 3.0
"""Nobody waits longer: many times what it takes, for a machine that is busy with other tests."""


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind is enough: nothing here depends on it."""
    return sqlite_url


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may kill."""
    with redis_server() as server:
        yield server


async def test_three_processes_on_one_redis_allow_a_limit_once(make_settings: MakeSettings, redis_url: str) -> None:
    settings = make_settings(redis_url=redis_url, redis_prefix=uuid4().hex, rate_limit_whitelist="",
                             rate_limits={"content.generateBlogPost": "30/minute", "global": "1000/minute",
                                          "content": "1000/minute"}, redis_timeout_ms=10_000)  # fmt: skip
    async with serve(settings) as one, serve(settings) as two, serve(settings) as three:
        servers = [one, two, three]
        replies = await asyncio.gather(*(servers[number % 3].ask("POST", PATH, BLOG) for number in range(100)))
        assert sorted(reply.status for reply in replies) == [200] * 30 + [429] * 70
        refused = next(reply for reply in replies if reply.status == 429)
        assert refused.json["code"] == "rate_limited_operation"
        last = await one.ask("GET", "/api/auth/me")
        assert '"global";r=969;' in last.headers["ratelimit"], "a refused request has consumed nothing anywhere"


@pytest.mark.parametrize("away", ["kill", "pause"])
async def test_redis_may_go_and_come_back_and_nobody_waits_or_fails(
    make_settings: MakeSettings, redis: RedisServer, away: str
) -> None:
    settings = make_settings(redis_url=redis.url, rate_limit_whitelist="", rate_limits={"global": "1000/minute"})
    async with serve(settings) as server:
        assert server.runtime.limits_name.startswith("in Redis (127.0.0.1:")
        assert (await server.ask("GET", "/api/health")).json["components"]["redis"]["status"] == "healthy"
        getattr(redis, away)()
        loop = asyncio.get_running_loop()
        for _ in range(20):
            began = loop.time()
            assert (await server.ask("GET", "/api/agents/list")).status == 200
            assert loop.time() - began < BOUND_S
        server.runtime.sample()
        metrics = (await server.ask("GET", "/api/metrics", key="admin")).body.decode()
        assert "redis_up 0.0" in metrics
        redis.start() if away == "kill" else redis.resume()
        async with asyncio.timeout(15):
            while not server.runtime.redis or not server.runtime.redis.state.is_up:
                await asyncio.sleep(0.05)
        assert (await server.ask("GET", "/api/agents/list")).status == 200


async def test_a_redis_user_who_may_only_use_keys_of_the_prefix_is_enough(make_settings: MakeSettings) -> None:
    only_theirs = ("--user", "team", "on", ">secret", "~team:*", "resetchannels", "&team:*", "+@all")
    with redis_server(*only_theirs) as redis:
        url = redis.url.replace("//", "//team:secret@")
        settings = make_settings(redis_url=url, redis_prefix="team", rate_limit_whitelist="", redis_timeout_ms=5_000)
        async with serve(settings) as server:
            assert (await server.ask("POST", PATH, BLOG)).status == 200
            events = await server.stream("/api/stream/blog", BLOG | {"topic": "Trains"})
            assert events[-1].event == "complete"
            cleared = await server.ask("POST", "/api/agents/content/cache/clear", {}, key="admin")
            assert cleared.json["cleared"] == 2
            assert (await server.ask("GET", "/api/health")).json["components"]["redis"]["status"] == "healthy"


async def test_that_redis_goes_and_comes_back_is_a_line_each(make_settings: MakeSettings, redis: RedisServer) -> None:
    def said() -> list[str]:
        return [line["event"] for line in lines if "redis" in str(line)]

    async def until(count: int, where: str) -> None:
        while len(said()) < count or server.runtime.limits.limiter.counts_in != where:
            await asyncio.sleep(0.05)

    with capture_logs() as lines:
        async with serve(make_settings(redis_url=redis.url)) as server, asyncio.timeout(15):
            redis.kill()
            await server.ask("GET", "/api/agents/list")
            await until(2, "memory")
            redis.start()
            await until(3, "redis")
    assert said() == ["redis_up", "redis_down", "redis_up"]


async def test_without_its_redis_the_server_starts_says_so_and_is_degraded(make_settings: MakeSettings) -> None:
    settings = make_settings(redis_url="redis://127.0.0.1:9/0", rate_limit_whitelist="")
    async with serve(settings) as server:
        assert "away" in server.runtime.limits_name
        health = (await server.ask("GET", "/api/health")).json
        assert health["components"]["redis"]["status"] == "degraded"
        assert "in memory" in health["components"]["redis"]["message"]
        assert (await server.ask("GET", "/api/health/ready")).status == 200
        replies = await asyncio.gather(*(server.ask("POST", PATH, BLOG) for _ in range(7)))
        assert sorted(reply.status for reply in replies) == [200] * 5 + [429] * 2


async def test_what_one_process_has_made_another_need_not(make_settings: MakeSettings, redis_url: str) -> None:
    settings = make_settings(redis_url=redis_url, redis_prefix=uuid4().hex)
    async with serve(settings) as one, serve(settings) as two:
        made = await one.ask("POST", PATH, BLOG)
        found = await two.ask("POST", PATH, BLOG)
        assert made.headers["x-cache"] == "miss"
        assert found.headers["x-cache"] in ("hit", "join"), "it is on its way for some milliseconds"
        assert found.json["result"] == made.json["result"]
        assert (await two.ask("POST", PATH, BLOG, key="other")).headers["x-cache"] == "miss"
        await two.ask("POST", PATH, BLOG)
        cleared = 0
        async with asyncio.timeout(5):
            while cleared < 2:
                reply = await one.ask("POST", "/api/agents/content/cache/clear", {"pattern": "content:*"}, key="admin")
                cleared += reply.json["cleared"]
        async with asyncio.timeout(5):
            while len(two.runtime.cache.memory):
                await asyncio.sleep(0.01)
        assert (await two.ask("POST", PATH, BLOG)).headers["x-cache"] == "miss", "the other's memory was told"


async def test_what_the_offline_model_has_made_is_not_given_out_once_there_is_another(
    make_settings: MakeSettings, redis_url: str
) -> None:
    redis: Any = {"redis_url": redis_url, "redis_prefix": uuid4().hex}
    async with serve(make_settings(**redis)) as server:
        made = [(await server.ask("POST", PATH, BLOG)).json for _ in range(2)]
        assert [(each["model"], each["cached"]) for each in made] == [("offline", False), ("offline", True)]
    async with ModelServer() as models, serve(settings_for("gemini", models, make_settings, **redis)) as server:
        reply = await server.ask("POST", PATH, BLOG)
        assert (reply.headers["x-cache"], reply.json["model"]) == ("miss", "gemini-2.0-flash-exp")


async def test_a_cache_without_its_redis_is_a_cold_one(make_settings: MakeSettings, redis: RedisServer) -> None:
    settings = make_settings(redis_url=redis.url)
    async with serve(settings) as one, serve(settings) as two:
        await one.ask("POST", PATH, BLOG)
        redis.pause()
        loop = asyncio.get_running_loop()
        for _ in range(3):
            began = loop.time()
            assert (await two.ask("POST", PATH, BLOG)).status == 200
            assert loop.time() - began < BOUND_S
        assert (await one.ask("POST", PATH, BLOG)).headers["x-cache"] == "hit", "memory goes on"
        cleared = await one.ask("POST", "/api/agents/content/cache/clear", key="admin")
        assert (cleared.status, cleared.json["cleared"]) == (200, 1)
        redis.resume()


async def test_what_was_cleared_while_redis_was_away_is_gone_when_it_is_back(
    make_settings: MakeSettings, redis: RedisServer
) -> None:
    settings = make_settings(redis_url=redis.url)
    async with serve(settings) as one, serve(settings) as two:
        await one.ask("POST", PATH, BLOG)
        redis.pause()
        cleared = await one.ask("POST", "/api/agents/content/cache/clear", key="admin")
        assert (cleared.status, cleared.json["cleared"]) == (200, 1)
        redis.resume()
        async with asyncio.timeout(15):
            while b"cache:entry" in redis.ask("KEYS *") or not redis.ask("PING"):
                await asyncio.sleep(0.05)
        assert (await two.ask("POST", PATH, BLOG)).headers["x-cache"] == "miss"


async def test_health_and_metrics_say_when_redis_answers_and_limits_are_counted_in_memory(
    make_settings: MakeSettings, redis: RedisServer
) -> None:
    settings = make_settings(redis_url=redis.url, rate_limit_whitelist="", redis_timeout_ms=10_000)
    async with serve(settings) as server:
        await server.ask("GET", "/api/agents/list")
        counter = next(each for each in redis.ask("KEYS *:limit:{*").split() if b":limit:" in each).decode()
        redis.ask(f"SET {counter} nonsense")
        assert (await server.ask("GET", "/api/agents/list")).status == 200
        assert server.runtime.redis is not None
        assert server.runtime.redis.state.is_up
        component = (await server.ask("GET", "/api/health")).json["components"]["redis"]
        assert component["status"] == "degraded"
        assert "in memory" in component["message"]
        server.runtime.sample()
        assert "redis_up 0.0" in (await server.ask("GET", "/api/metrics", key="admin")).body.decode()


async def test_a_request_is_looked_for_while_its_limits_are_decided(
    make_settings: MakeSettings, redis: RedisServer
) -> None:
    settings = make_settings(redis_url=redis.url, rate_limit_whitelist="", redis_timeout_ms=10_000)
    async with serve(settings) as server:
        redis.pause()
        asked = asyncio.create_task(server.ask("POST", PATH, BLOG))
        async with asyncio.timeout(10):
            while not server.runtime.runner._reuse._asking:
                await asyncio.sleep(0.01)
        redis.resume()
        reply = await asked
        assert (reply.status, reply.headers["x-cache"]) == (200, "miss")
        assert not server.runtime.runner._reuse._asking


async def test_whoever_is_refused_keeps_no_lease_and_is_refused_before_the_body_is_wrong(
    make_settings: MakeSettings, redis: RedisServer
) -> None:
    limits = {"content.generateBlogPost": "2/minute"}
    settings = make_settings(redis_url=redis.url, rate_limit_whitelist="", rate_limits=limits, redis_timeout_ms=10_000)
    async with serve(settings) as server:
        statuses = [(await server.ask("POST", PATH, body)).status for body in ({}, BLOG, {}, BLOG | {"tone": "formal"})]
        assert statuses == [400, 200, 429, 429]
        redis.ask("CONFIG RESETSTAT")
        replies = await asyncio.gather(
            *(server.ask("POST", PATH, BLOG | {"topic": f"Topic {number}"}, key="other") for number in range(10))
        )
        assert sorted(reply.status for reply in replies) == [200] * 2 + [429] * 8
        async with asyncio.timeout(10):
            while b":flight:" in redis.ask("KEYS *"):
                await asyncio.sleep(0.02)
        assert not server.runtime.runner._reuse._asking
        before = redis.ask("INFO commandstats").split(b"cmdstat_get:calls=")[1].split(b",")[0]
        assert (await server.ask("POST", PATH, BLOG | {"topic": "Another"}, key="other")).status == 429
        after = redis.ask("INFO commandstats").split(b"cmdstat_get:calls=")[1].split(b",")[0]
        assert after == before, "nothing is done for whom a limit has just refused"
