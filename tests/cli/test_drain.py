"""Stopping a real server process in the middle of its work: nobody hangs, and nobody is cut off without a word."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process import server_process
from tests.serving import KEYS, SSE, events_of

HEADERS = {"x-api-key": KEYS["premium"]}


def blog(number: int) -> dict[str, Any]:
    return {"topic": f"Rainy days, part {number}", "length": "short"}


async def read(http: aiohttp.ClientSession, url: str, number: int, begun: asyncio.Semaphore) -> list[SSE]:
    async with http.post(f"{url}/api/stream/blog", json=blog(number), headers=HEADERS) as reply:
        assert reply.status == 200
        events = []
        async for event in events_of(reply):
            events.append(event)
            if len(events) == 3:
                begun.release()
        return events


async def stopped_amid_streams(tmp_path: Path, count: int, stop: signal.Signals, **environment: str) -> list[list[SSE]]:
    async with (
        server_process(tmp_path, **environment) as (server, url),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        begun = asyncio.Semaphore(0)
        readers = [asyncio.create_task(read(http, url, number, begun)) for number in range(count)]
        async with asyncio.timeout(30):
            for _ in readers:
                await begun.acquire()
            server.send_signal(stop)
            streams = await asyncio.gather(*readers)
            assert await server.wait() in (0, -stop)
        return streams


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])  # the last: a terminal is closed
async def test_runs_get_the_time_to_finish(tmp_path: Path, stop: signal.Signals) -> None:
    streams = await stopped_amid_streams(tmp_path, 10, stop, OFFLINE_TOKENS_PER_S="400", DRAIN_TIMEOUT_S="20")
    assert {events[-1].event for events in streams} == {"complete"}


async def test_of_a_hundred_streams_none_hangs_and_none_is_cut_without_a_word(tmp_path: Path) -> None:
    streams = await stopped_amid_streams(tmp_path, 100, signal.SIGTERM, OFFLINE_TOKENS_PER_S="5", DRAIN_TIMEOUT_S="0.3")
    for events in streams:
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        assert (events[-1].event, events[-1].data["code"]) == ("error", "draining")
    assert len(streams) == 100


async def test_while_runs_finish_probes_are_answered_streams_taken_up_and_new_runs_sent_away(tmp_path: Path) -> None:
    slow = {"OFFLINE_TOKENS_PER_S": "100", "DRAIN_TIMEOUT_S": "20"}
    async with server_process(tmp_path, **slow) as (server, url), aiohttp.ClientSession(headers=HEADERS) as http:

        async def status_of(method: str, path: str, json: object = None) -> tuple[int, str | None]:
            async with http.request(method, f"{url}{path}", json=json) as reply:
                assert reply.headers["connection"] == "close"
                return reply.status, reply.headers.get("retry-after")

        async with http.post(f"{url}/api/stream/blog", json=blog(1)) as first:
            taken_up = [await anext(events_of(first)) for _ in range(3)][-1]
            run_id = first.headers["x-run-id"]
            server.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            assert await status_of("GET", "/api/health/live") == (200, None)
            assert (await status_of("GET", "/api/health/ready"))[0] == 503
            assert await status_of("POST", "/api/agents/content/generateBlogPost", blog(2)) == (503, "2")
        resuming = {"last-event-id": f"{run_id}:{taken_up.number}"}
        async with http.get(f"{url}/api/stream/{run_id}", headers=resuming) as second:
            assert [event async for event in events_of(second)][-1].event == "complete"
        async with asyncio.timeout(10):
            assert await server.wait() in (0, -signal.SIGTERM)
        with pytest.raises(aiohttp.ClientConnectionError):
            await status_of("GET", "/api/health/live")


STUBBORN = """
import asyncio
from amrikyy.agents import Agent, Request, Result, RunContext
stubborn = Agent("stubborn", "Goes on.")
class Nothing(Request): ...
class Done(Result): ...
@stubborn.operation()
async def go_on(request: Nothing, run: RunContext) -> Done:
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""


async def test_an_operation_that_ignores_its_cancellation_keeps_no_server_from_stopping(tmp_path: Path) -> None:
    (tmp_path / "stubborn_agents.py").write_text(STUBBORN)
    environment = {"AGENTS": "stubborn_agents", "PYTHONPATH": str(tmp_path), "DRAIN_TIMEOUT_S": "0"}
    async with (
        server_process(tmp_path, **environment) as (server, url),
        aiohttp.ClientSession() as http,
        http.post(f"{url}/api/stream/stubborn/goOn", json={}, headers=HEADERS) as reply,
    ):
        events = events_of(reply)
        assert (await anext(events)).event == "connected"
        server.send_signal(signal.SIGTERM)
        last = [event async for event in events][-1]
        assert (last.event, last.data["code"]) == ("error", "draining")
        async with asyncio.timeout(30):
            assert await server.wait() == 0
    log = (tmp_path / "server.log").read_text()
    assert "operation_ignores_cancellation" in log
    assert "left_behind" in log
