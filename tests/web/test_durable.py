"""What is promised is in the database before the caller hears of it, so that no death of a process takes it back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from amrikyy.db import open_database
from amrikyy.db.tables import runs, spend
from amrikyy.runs import store
from tests.process import free_port
from tests.serving import MakeSettings, Served, serve

BLOG = {"topic": "AI in Travel", "length": "short"}
JSON = "/api/agents/content/generateBlogPost"


@pytest.fixture(autouse=True)
def nothing_is_written_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH_AFTER_S", 3600)


@pytest.fixture
async def durable(make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(make_settings(durable_replies=True)) as served:
        yield served


@pytest.fixture
async def slow(make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(make_settings(offline_tokens_per_s=300)) as served:
        yield served


async def recorded(server: Served, run_id: str) -> str | None:
    """How the run is in the database, which is asked directly."""
    async with server.runtime.database.connect() as connection:
        return (await connection.execute(select(runs.c.status).where(runs.c.id == run_id))).scalar()


async def test_an_accepted_run_is_recorded_before_it_is_accepted(server: Served) -> None:
    reply = await server.ask("POST", JSON, BLOG, headers={"prefer": "respond-async"})
    assert reply.status == 202
    assert await recorded(server, reply.json["runId"]) is not None


async def test_the_end_of_a_keyed_run_is_recorded_before_it_is_told(server: Served) -> None:
    reply = await server.ask("POST", JSON, BLOG, headers={"idempotency-key": "k"})
    assert await recorded(server, reply.json["runId"]) == "completed"
    async with server.runtime.database.connect() as connection:
        entry = (await connection.execute(select(spend).where(spend.c.run_id == reply.json["runId"]))).one()
    assert entry.input_tokens + entry.output_tokens == reply.json["usage"]["totalTokens"]


async def test_the_end_of_a_keyed_stream_is_recorded_before_it_is_shown(server: Served) -> None:
    events = await server.stream("/api/stream/blog", BLOG, idempotency_key="k")
    assert events[-1].event == "complete"
    assert await recorded(server, events[0].data["runId"]) == "completed"


async def test_the_end_of_a_keyed_stream_is_recorded_also_if_its_beginning_was_long_before(slow: Served) -> None:
    streaming = asyncio.create_task(slow.stream("/api/stream/blog", BLOG, idempotency_key="k"))
    async with asyncio.timeout(5):
        while not any(run.execution.events[-1].kind == "token" for run in slow.runtime.live.running()):
            await asyncio.sleep(0.01)
    await slow.runtime.records.flush()
    events = await streaming
    assert await recorded(slow, events[0].data["runId"]) == "completed"


async def test_other_answers_wait_for_their_record_if_durable_replies_says_so(durable: Served, server: Served) -> None:
    for each, status in ((durable, "completed"), (server, None)):
        reply = await each.ask("POST", JSON, BLOG, headers={"cache-control": "no-store"})
        assert await recorded(each, reply.json["runId"]) == status
        events = await each.stream("/api/stream/blog", BLOG, cache_control="no-store")
        assert await recorded(each, events[0].data["runId"]) == status


async def test_what_cannot_be_recorded_is_not_accepted(slow: Served) -> None:
    away = open_database(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    slow.runtime.records._database, present = away, slow.runtime.records._database
    reply = await slow.ask("POST", JSON, BLOG, headers={"prefer": "respond-async"})
    assert (reply.status, reply.json["code"]) == (503, "database_unavailable")
    assert "retry-after" in reply.headers
    keyed = await slow.ask("POST", JSON, BLOG, headers={"idempotency-key": "k"})
    assert (keyed.status, keyed.json["code"]) == (503, "database_unavailable")
    assert "same Idempotency-Key" in keyed.json["message"]
    slow.runtime.records._database = present
    again = await slow.ask("POST", JSON, BLOG, headers={"idempotency-key": "k"})
    assert again.status == 200
    assert again.json["runId"] in keyed.json["message"]
    listed = (await slow.ask("GET", "/api/runs")).json["runs"]
    assert [run["status"] for run in listed] == ["completed", "cancelled"]
