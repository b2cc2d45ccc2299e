"""Several server processes on one Redis and one database: they share runs, and each may die at any moment."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.model_server import Behaviour, ModelServer
from tests.process import server_process
from tests.redis_server import redis_server
from tests.serving import KEYS, SSE, events_of

BLOG = {"topic": "AI in Travel", "length": "short"}
JSON = "/api/agents/content/generateBlogPost"
BOUND_S = 3.0
"""No wait is longer, whatever Redis does: many times what it takes, for a machine that is busy with other tests."""

NEVER_AWAY_MS = "10000"
"""For a machine that is busy with other tests: a late reply is taken for a Redis that is away."""

PIECES = ["# A title\n\n", *["word "] * 60]


class Fleet:
    """Server processes, by number."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.processes: list[asyncio.subprocess.Process] = []
        self.urls: list[str] = []

    async def ask(
        self, number: int, method: str, path: str, body: Any = None, *, key: str = "premium", **headers: str
    ) -> tuple[int, Any]:
        """The status, and the JSON body with the headers under "headers"."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"x-api-key": KEYS[key]}
        async with self._http.request(method, self.urls[number] + path, json=body, headers=sent) as reply:
            return reply.status, {**await reply.json(content_type=None), "headers": dict(reply.headers)}

    @asynccontextmanager
    async def open(self, number: int, path: str, body: Any = None, **headers: str) -> AsyncIterator[AsyncIterator[SSE]]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"x-api-key": KEYS["premium"]}
        method = "GET" if body is None else "POST"
        async with self._http.request(method, self.urls[number] + path, json=body, headers=sent) as reply:
            assert reply.status == 200, await reply.text()
            yield events_of(reply)

    async def stream(self, number: int, path: str, body: Any = None, **headers: str) -> list[SSE]:
        async with self.open(number, path, body, **headers) as events:
            return [event async for event in events]

    async def resume(self, number: int, last: SSE) -> list[SSE]:
        run_id = last.id.rpartition(":")[0]
        return await self.stream(number, f"/api/stream/{run_id}", last_event_id=last.id)

    async def kill(self, number: int) -> None:
        """`kill -9`."""
        self.processes[number].kill()
        await self.processes[number].wait()


@asynccontextmanager
async def fleet(folder: Path, redis_url: str, count: int, **environment: str) -> AsyncIterator[Fleet]:
    prefix = uuid4().hex
    async with AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=40)
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=connector))
        found = Fleet(http)
        for number in range(count):
            own = folder / str(number)
            own.mkdir()
            process, url = await stack.enter_async_context(
                server_process(
                    own,
                    **{
                        "DATABASE_URL": f"sqlite:///{folder}/all.db", "REDIS_URL": redis_url, "REDIS_PREFIX": prefix,
                        "JWT_SECRET": "j" * 40, "STREAM_GRACE_S": "20", "REDIS_TIMEOUT_MS": NEVER_AWAY_MS,
                        **environment,
                    },
                )
            )  # fmt: skip
            found.processes.append(process)
            found.urls.append(url)
        yield found


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        server.rule = lambda _: Behaviour(pieces=PIECES, pause_s=0.02)
        yield server


def behind(models: ModelServer) -> dict[str, str]:
    return {"MODELS": "", "GEMINI_API_KEY": "test", "GEMINI_BASE_URL": models.url}


async def begun(models: ModelServer, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(models.posts) < count:
            await asyncio.sleep(0.01)


def text_of(events: list[SSE]) -> str:
    return "".join(event.data["chunk"] for event in events if event.event == "token")


def assert_whole(events: list[SSE]) -> None:
    assert [event.number for event in events] == list(range(1, len(events) + 1)), "without gap or repeat"
    assert events[-1].event == "complete"
    assert events[-1].data["result"]["text"] == text_of(events)


async def test_a_stream_is_resumed_on_another_process_and_cancelled_from_a_third(
    tmp_path: Path, redis_url: str, models: ModelServer
) -> None:
    async with fleet(tmp_path, redis_url, 3, **behind(models)) as servers:
        async with servers.open(0, "/api/stream/blog", BLOG) as events:
            seen = [await anext(events) for _ in range(10)]
        whole = seen + await servers.resume(1, seen[-1])
        assert_whole(whole)
        run_id = whole[0].data["runId"]
        for number in (0, 1, 2):
            assert await servers.resume(number, whole[4]) == whole[5:], "also when it has ended"
        status, body = await servers.ask(1, "GET", "/api/runs")
        assert (status, [run["id"] for run in body["runs"]]) == (200, [run_id])
        async with servers.open(0, "/api/stream/blog", BLOG | {"tone": "formal"}) as events:
            other = (await anext(events)).data["runId"]
            async with servers.open(2, f"/api/stream/{other}") as copied:
                await anext(copied)
                assert (await servers.ask(1, "DELETE", f"/api/stream/{other}"))[0] == 200
                ends = [[event async for event in each][-1] for each in (events, copied)]
        assert [(end.event, end.data["code"]) for end in ends] == [("error", "run_cancelled")] * 2
        assert ends[0].id == ends[1].id
        assert models.posts[-1].closed.is_set() or not models.posts[-1].finished
        assert (await servers.ask(2, "DELETE", f"/api/stream/{other}"))[1]["code"] == "run_ended"


async def test_partial_objects_are_resumed_elsewhere_as_they_were(tmp_path: Path, redis_url: str) -> None:
    async with fleet(tmp_path, redis_url, 2, OFFLINE_TOKENS_PER_S="300") as servers:
        trip = {"destination": "Lisbon", "duration": 3, "budget": 1500}
        whole = await servers.stream(0, "/api/stream/itinerary", trip)
        for after in range(0, len(whole) - 1, 3):
            assert await servers.resume(1, whole[after]) == whole[after + 1 :]


async def test_after_the_reader_s_process_was_killed_another_has_the_rest(
    tmp_path: Path, redis_url: str, models: ModelServer
) -> None:
    async with fleet(tmp_path, redis_url, 3, **behind(models)) as servers:
        async with servers.open(0, "/api/stream/blog", BLOG) as begun_here:
            first = [await anext(begun_here) for _ in range(5)]
        async with servers.open(1, f"/api/stream/{first[0].data['runId']}", last_event_id=first[-1].id) as events:
            second = [await anext(events) for _ in range(10)]
            await servers.kill(1)
        assert_whole(first + second + await servers.resume(2, second[-1]))
        assert len(models.posts) == 1


async def test_after_the_producer_was_killed_readers_get_what_is_stored_and_run_lost(
    tmp_path: Path, redis_url: str, models: ModelServer
) -> None:
    models.rule = lambda _: Behaviour(pieces=PIECES, hang_after=30)
    async with fleet(tmp_path, redis_url, 2, **behind(models)) as servers:
        async with servers.open(0, "/api/stream/blog", BLOG) as events:
            seen = [await anext(events) for _ in range(31)]
            waiting = asyncio.create_task(servers.resume(1, seen[10]))
            await asyncio.sleep(0.3)
            await servers.kill(0)
        async with asyncio.timeout(15):
            rest = await waiting
            later = await servers.resume(1, seen[10])
        assert rest[:20] == seen[11:31]
        assert later[:20] == seen[11:31]
        for end in (rest[-1], later[-1]):
            assert (end.event, end.data["code"]) == ("error", "run_lost")
        assert [event.number for event in rest] == list(range(12, 12 + len(rest)))


async def test_a_key_is_one_run_on_every_process(tmp_path: Path, redis_url: str, models: ModelServer) -> None:
    async with fleet(tmp_path, redis_url, 3, **behind(models)) as servers:
        headers = {"idempotency_key": "k", "cache_control": "no-cache"}
        streams = await asyncio.gather(*(servers.stream(n % 3, "/api/stream/blog", BLOG, **headers) for n in range(6)))
        assert len({events[0].data["runId"] for events in streams}) == 1
        for events in streams:
            assert_whole(events)
        assert len(models.posts) == 1


@pytest.mark.parametrize("path", [JSON, "/api/stream/blog"])
async def test_fifty_identical_requests_to_three_processes_make_one_model_call(
    tmp_path: Path, redis_url: str, models: ModelServer, path: str
) -> None:
    async with fleet(tmp_path, redis_url, 3, **behind(models)) as servers:
        if path == JSON:
            replies = await asyncio.gather(*(servers.ask(n % 3, "POST", path, BLOG) for n in range(50)))
            assert {status for status, _ in replies} == {200}
            assert sorted({body["headers"]["X-Cache" if "X-Cache" in body["headers"] else "x-cache"]
                           for _, body in replies}) in (["join", "miss"], ["hit", "join", "miss"])  # fmt: skip
            assert len({body["runId"] for _, body in replies}) == 50
            assert len({body["result"]["text"] for _, body in replies}) == 1
            assert sum(body["usage"]["totalTokens"] > 0 for _, body in replies) == 1
        else:
            streams = await asyncio.gather(*(servers.stream(n % 3, path, BLOG) for n in range(50)))
            for events in streams:
                assert_whole(events)
            assert len({events[0].data["runId"] for events in streams}) == 50
            assert sum(events[-1].data["totalTokens"] > 0 for events in streams) == 1
        assert len(models.posts) == 1


async def test_when_the_one_who_works_for_all_is_killed_another_takes_over(
    tmp_path: Path, redis_url: str, models: ModelServer
) -> None:
    models.script.append(Behaviour(before_s=60))
    async with fleet(tmp_path, redis_url, 3, **behind(models)) as servers:
        doomed = asyncio.create_task(servers.ask(0, "POST", JSON, BLOG))
        await begun(models)
        others = [asyncio.create_task(servers.ask(1 + n % 2, "POST", JSON, BLOG)) for n in range(10)]
        await asyncio.sleep(0.5)
        await servers.kill(0)
        async with asyncio.timeout(20):
            replies = await asyncio.gather(*others)
        with pytest.raises(aiohttp.ClientError):
            await doomed
        assert {status for status, _ in replies} == {200}
        assert len(models.posts) == 2
        assert sum(body["usage"]["totalTokens"] > 0 for _, body in replies) == 1, "who took over pays"


async def test_whoever_began_may_leave_and_those_elsewhere_keep_what_they_joined(
    tmp_path: Path, redis_url: str, models: ModelServer
) -> None:
    models.rule = lambda _: Behaviour(pieces=PIECES, pause_s=0.05)
    async with fleet(tmp_path, redis_url, 2, STREAM_GRACE_S="0", **behind(models)) as servers:
        async with servers.open(0, "/api/stream/blog", BLOG) as events:
            await anext(events)
            joined = asyncio.create_task(servers.stream(1, "/api/stream/blog", BLOG))
            await asyncio.sleep(1)
        assert_whole(await joined)
        assert len(models.posts) == 1


async def test_a_hundred_requests_at_a_limit_of_thirty_admit_thirty_through_three_processes(
    tmp_path: Path, redis_url: str
) -> None:
    limits = {"content.generateBlogPost": "30/minute", "content": "200/minute", "global": "1000/minute"}
    options = {"RATE_LIMITS": json.dumps(limits), "RATE_LIMIT_WHITELIST": ""}
    async with fleet(tmp_path, redis_url, 3, **options) as servers:
        asked = (servers.ask(each % 3, "POST", JSON, BLOG | {"topic": f"Topic {each}"}) for each in range(100))
        replies = await asyncio.gather(*asked)
        assert sorted(status for status, _ in replies) == [200] * 30 + [429] * 70
        refused = next(reply for status, reply in replies if status == 429)
        assert refused["code"] == "rate_limited_operation"
        assert "content.generateBlogPost" in refused["message"]
        # What was refused has consumed nothing of the other limits, on any process.
        _, reply = await servers.ask(1, "POST", "/api/agents/content/researchTopic", {"topic": "Night trains"})
        left = dict(re.findall(r'"([^"]+)";r=(\d+)', reply["headers"]["ratelimit"]))
        assert (left["global"], left["content"]) == ("969", "169")


@pytest.mark.parametrize("away", ["kill", "pause"])
async def test_redis_may_go_and_come_back_under_load_and_no_caller_fails_or_hangs(tmp_path: Path, away: str) -> None:
    limit, window_s = 100, 2
    options = {
        "OFFLINE_TOKENS_PER_S": "100", "REDIS_TIMEOUT_MS": "50", "RATE_LIMIT_WHITELIST": "",
        "RATE_LIMITS": json.dumps({"global": f"{limit}/{window_s} seconds", "content": "9999/minute",
                                   "content.generateBlogPost": "9999/minute"}),
    }  # fmt: skip
    with redis_server() as redis:
        async with fleet(tmp_path, redis.url, 2, **options) as servers:
            loop = asyncio.get_running_loop()
            waits: list[float] = []
            admitted: list[tuple[float, float]] = []
            statuses: set[int] = set()
            answers = 0
            stopping = asyncio.Event()

            async def read(number: int) -> None:
                turn = 0
                while not stopping.is_set():
                    turn += 1
                    body = BLOG | {"topic": f"Rain {number}, {turn}"}
                    async with servers.open(number % 2, "/api/stream/blog", body) as events:
                        seen, last = [], loop.time()
                        async for event in events:
                            waits.append(loop.time() - last)
                            last = loop.time()
                            seen.append(event)
                    assert_whole(seen)

            async def call(number: int) -> None:
                nonlocal answers
                turn = 0
                while not stopping.is_set():
                    turn += 1  # the first two ask the same, the others something of their own
                    body = BLOG | {"topic": f"Snow {max(1, number)}, {turn}"}
                    status, answer = await servers.ask(number % 2, "POST", JSON, body, key="other")
                    assert status == 200, answer
                    assert answer["result"]["text"]
                    answers += 1
                    await asyncio.sleep(0.2)

            async def knock(number: int) -> None:
                while not stopping.is_set():
                    began = loop.time()
                    status, _ = await servers.ask(number % 2, "GET", "/api/agents/list", key="user")
                    statuses.add(status)
                    waits.append(loop.time() - began)
                    if status == 200:
                        admitted.append((began, loop.time()))
                    await asyncio.sleep(0.02)

            callers = [loop.create_task(act(number)) for act in (read, call, knock) for number in range(6)]
            await asyncio.sleep(1)
            getattr(redis, away)()
            await asyncio.sleep(1.5)
            assert (await servers.ask(0, "GET", "/api/health"))[1]["components"]["redis"]["status"] == "degraded"
            redis.start() if away == "kill" else redis.resume()
            async with asyncio.timeout(20):
                for number in (0, 1):
                    while (await servers.ask(number, "GET", "/api/health"))[1]["components"]["redis"][
                        "status"
                    ] != "healthy":
                        await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            async with servers.open(0, "/api/stream/blog", BLOG) as events:
                seen = [await anext(events) for _ in range(5)]
            assert_whole(seen + await servers.resume(1, seen[-1]))
            stopping.set()
            async with asyncio.timeout(30):
                await asyncio.gather(*callers)
    assert statuses == {200, 429}
    assert answers > 6
    assert sorted(waits)[int(0.99 * len(waits))] < BOUND_S
    # In such a window Redis and all memories together each allow the limit, and so does a Redis that has lost its data.
    bound = {"pause": 2, "kill": 3}[away] * limit
    for since, _ in admitted:
        assert sum(since <= began and ended <= since + window_s for began, ended in admitted) <= bound


async def test_while_redis_is_away_a_run_elsewhere_is_out_of_reach_and_not_gone(tmp_path: Path) -> None:
    with redis_server() as redis:
        async with fleet(tmp_path, redis.url, 2, OFFLINE_TOKENS_PER_S="0") as servers:
            seen = await servers.stream(0, "/api/stream/blog", BLOG)
            path, last = f"/api/stream/{seen[0].data['runId']}", {"last_event_id": seen[4].id}
            redis.pause()
            status, body = await servers.ask(1, "GET", path, **last)
            assert (status, body["code"]) == (503, "run_elsewhere")
            assert "Retry-After" in body["headers"]
            redis.resume()
            async with asyncio.timeout(15):
                while not (rest := await again(servers, path, seen[4].id)):
                    await asyncio.sleep(0.1)
            assert rest == seen[5:]


async def again(servers: Fleet, path: str, last: str) -> list[SSE]:
    """The rest of a stream; nothing while it is out of reach."""
    try:
        return await servers.stream(1, path, last_event_id=last)
    except AssertionError:  # a 503, which is what it is about, or a 410, which it never stops to be
        return []
