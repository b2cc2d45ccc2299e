"""Servers that are killed, paused and replaced while they work: real processes, and a model server that counts."""

import asyncio
import json
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.model_server import Behaviour, ModelServer, Recorded
from tests.process import server_process
from tests.serving import KEYS, SSE, events_of

HEADERS = {"x-api-key": KEYS["premium"]}
STEPS = 5
TAKEN_OVER_WITHIN_S = 10

Process = tuple[asyncio.subprocess.Process, str]


def part_of(post: Recorded) -> str:
    """Which part was asked for."""
    found = re.search(r"Part (\w+)", json.dumps(post.json))
    assert found is not None
    return found[1]


def asked(models: ModelServer) -> Counter[str]:
    """How often each part was asked for."""
    return Counter(part_of(post) for post in models.posts)


def part(name: str) -> dict[str, Any]:
    return {"agent": "content", "method": "generateBlogPost", "params": {"topic": f"Part {name}", "length": "short"}}


class Servers:
    """Server processes on one database, with one model behind them."""

    def __init__(self, stack: AsyncExitStack, folder: Path, database_url: str, models: ModelServer) -> None:
        self._stack = stack
        self._folder = folder
        self._environment = {
            "DATABASE_URL": database_url, "MODELS": "", "GEMINI_API_KEY": "k", "GEMINI_BASE_URL": models.url,
            "MODEL_ATTEMPTS": "1", "JWT_SECRET": "j" * 40, "MAX_WORKFLOWS_PER_CALLER": "50",
        }  # fmt: skip
        self._started = 0

    async def start(self) -> Process:
        self._started += 1
        folder = self._folder / f"server-{self._started}"
        folder.mkdir()
        return await self._stack.enter_async_context(server_process(folder, **self._environment))


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def servers(tmp_path: Path, database_url: str, models: ModelServer) -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        yield Servers(stack, tmp_path, database_url, models)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60), headers=HEADERS) as session:
        yield session


async def begin(http: aiohttp.ClientSession, url: str, plan: dict[str, Any]) -> str:
    async with http.post(f"{url}/api/coordinator/sequential", json=plan | {"async": True}) as reply:
        assert reply.status == 202, await reply.text()
        return str((await reply.json())["workflowId"])


async def kill(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGKILL)
    await process.wait()


class Client:
    """Follows a workflow over all servers, and comes back with the last event's id when one is gone."""

    def __init__(self, http: aiohttp.ClientSession, workflow_id: str) -> None:
        self._http = http
        self._id = workflow_id
        self.events: list[SSE] = []

    async def until(self, url: str, last: str) -> None:
        """Read at this server until an event says so much."""
        seen = {"last-event-id": self.events[-1].id} if self.events else {}
        path = f"{url}/api/coordinator/status/{self._id}/events"
        async with self._http.get(path, headers=seen) as reply:
            assert reply.status == 200, await reply.text()
            async for event in events_of(reply):
                self.events.append(event)
                if describe(event) == last:
                    return


def describe(event: SSE) -> str:
    return f"{event.data['step']} {event.data['status']}" if event.event == "step" else event.event


Kill = tuple[int, str]
"""In which step, and when: it has been `asked` for, its answer is out, or its end has been seen."""

EVERY = [(number, moment) for number in range(STEPS) for moment in ("asked", "answered", "ended")][:-1]
SOME = [(0, "asked"), (1, "answered"), (2, "ended"), (3, "asked"), (4, "answered")]


@pytest.mark.parametrize(
    "kills", [pytest.param(SOME, id="some"), pytest.param(EVERY, id="every", marks=pytest.mark.durability)]
)
@pytest.mark.timeout(300)
async def test_a_workflow_survives_kill_9_in_its_steps_and_between_them(
    servers: Servers, models: ModelServer, http: aiohttp.ClientSession, database_url: str, kills: list[Kill]
) -> None:
    """On SQLite the server is started anew; on PostgreSQL another one is there already."""
    waits_for_death = {str(number) for number, moment in kills if moment == "asked"}
    models.rule = lambda post: Behaviour(before_s=60) if part_of(post) in waits_for_death else None
    shared = database_url.startswith("postgresql")
    serving = await servers.start()
    standby = asyncio.create_task(servers.start()) if shared else None
    workflow_id = await begin(http, serving[1], {"steps": [part(str(number)) for number in range(STEPS)]})
    client = Client(http, workflow_id)
    slowest_s = 0.0
    asked_until_ended: list[int] = []

    async def die_and_be_replaced() -> None:
        nonlocal serving, standby
        successor = await standby if standby is not None else None
        await kill(serving[0])
        if successor is None:
            serving = await servers.start()
        else:  # the next one starts meanwhile: how long that takes is not how long it takes to take over
            serving, standby = successor, asyncio.create_task(servers.start())

    async def until(number: int, *, answered: bool) -> None:
        async with asyncio.timeout(TAKEN_OVER_WITHIN_S):
            while not any(post.finished or not answered for post in models.posts if part_of(post) == str(number)):
                await asyncio.sleep(0.001)

    for number in range(STEPS):
        await client.until(serving[1], f"steps.{number} running")
        died = time.monotonic()
        if (number, "asked") in kills:
            await until(number, answered=False)
            waits_for_death.discard(str(number))
            died = time.monotonic()
            await die_and_be_replaced()
        if (number, "answered") in kills:
            await until(number, answered=True)
            died = time.monotonic()
            await die_and_be_replaced()
        async with asyncio.timeout(TAKEN_OVER_WITHIN_S + 10):
            await client.until(serving[1], f"steps.{number} completed")
        slowest_s = max(slowest_s, time.monotonic() - died)
        asked_until_ended.append(asked(models)[str(number)])
        if (number, "ended") in kills:  # the next one has begun, or is about to
            await die_and_be_replaced()
    await client.until(serving[1], "complete")

    assert [event.number for event in client.events] == list(range(1, len(client.events) + 1))
    described = [describe(event) for event in client.events]
    steps = [f"steps.{number} {status}" for number in range(STEPS) for status in ("running", "completed")]
    assert described == ["connected", "started", *steps, "complete"]
    assert [asked(models)[str(number)] for number in range(STEPS)] == asked_until_ended  # no finished step ran again
    for number, count in enumerate(asked_until_ended):  # once, and once for each death that it could have been lost in
        deaths = sum(step <= number if moment != "asked" else step == number for step, moment in kills)
        deaths -= (number, "ended") in kills
        assert count <= 1 + deaths
    if standby is not None:
        await standby
        assert slowest_s < TAKEN_OVER_WITHIN_S


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.timeout(180)
async def test_of_two_hundred_workflows_none_is_lost_or_done_twice_when_a_server_is_killed(
    servers: Servers, models: ModelServer, http: aiohttp.ClientSession
) -> None:
    models.rule = lambda _: Behaviour(before_s=0.1)
    dying, living = await asyncio.gather(servers.start(), servers.start())
    begun = await asyncio.gather(
        *(begin(http, (dying, living)[number % 2][1], {"steps": [part(f"w{number}")]}) for number in range(200))
    )
    async with asyncio.timeout(60):
        while len(models.posts) < 60:
            await asyncio.sleep(0.01)
    done = {each["workflowId"] for each in await listed(http, dying[1], "completed")}
    finished = {name: count for name, count in asked(models).items() if begun[int(name[1:])] in done}
    await kill(dying[0])
    assert 0 < len(done) < 200, "killed too early or too late to show anything"
    async with asyncio.timeout(90):
        while len(await listed(http, living[1], "completed")) < 200:
            await asyncio.sleep(0.2)
    assert {each["workflowId"] for each in await listed(http, living[1], "completed")} == set(begun)
    again = asked(models)
    assert {name: again[name] for name in finished} == finished
    assert set(finished.values()) == {1}
    assert max(again.values()) <= 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.timeout(120)
async def test_a_paused_server_that_comes_back_does_no_further_step(
    servers: Servers, models: ModelServer, http: aiohttp.ClientSession
) -> None:
    models.script.append(Behaviour(before_s=2))
    paused, other = await asyncio.gather(servers.start(), servers.start())
    workflow_id = await begin(http, paused[1], {"steps": [part("one"), part("two")]})
    async with asyncio.timeout(10):
        while not models.posts:
            await asyncio.sleep(0.01)
    paused[0].send_signal(signal.SIGSTOP)
    client = Client(http, workflow_id)
    async with asyncio.timeout(TAKEN_OVER_WITHIN_S):  # by the heartbeat that stands still: the process exists
        await client.until(other[1], "complete")
    paused[0].send_signal(signal.SIGCONT)
    await asyncio.sleep(2)
    assert asked(models) == {"one": 2, "two": 1}
    assert [event.number for event in client.events] == list(range(1, len(client.events) + 1))
    async with http.get(f"{paused[1]}/api/coordinator/status/{workflow_id}") as reply:
        status = await reply.json()
    assert (status["status"], status["events"]) == ("completed", len(client.events))


async def listed(http: aiohttp.ClientSession, url: str, status: str) -> list[dict[str, Any]]:
    """All workflows of that status, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        async with http.get(f"{url}/api/coordinator/status?status={status}&limit=100{cursor}") as reply:
            page = await reply.json()
        found += page["workflows"]
        if page["nextCursor"] is None:
            return found
        cursor = f"&cursor={page['nextCursor']}"
