"""Streams: the guide's events, numbered without a gap, and what happens when somebody leaves."""

import asyncio
import json
from typing import Any, cast

import pytest

from amrikyy.agents import Agent, Request, Result, RunContext
from tests.serving import SSE, MakeSettings, Served, serve

BLOG = {"topic": "AI in Travel", "tone": "professional", "length": "medium"}
ITINERARY = {"destination": "Lisbon", "duration": 3, "budget": 1500}


def assert_well_formed(events: list[SSE]) -> str:
    run_id = events[0].data["runId"]
    assert [event.id for event in events] == [f"{run_id}:{number}" for number in range(1, len(events) + 1)]
    assert events[0].event == "connected"
    assert [event.event for event in events].count("connected") == 1
    assert events[-1].event in ("complete", "error")
    assert not {event.event for event in events[:-1]} & {"complete", "error"}
    percents = [event.data["progress"] for event in events if event.event == "progress"]
    assert percents == sorted(percents)
    if events[-1].event == "complete":
        assert percents[-1] == 100
        assert events[-2].event == "progress"
    assert 100 not in percents[:-1]
    return str(run_id)


async def test_the_blog_stream_has_exactly_the_events_of_the_guide(server: Served) -> None:
    events = await server.stream("/api/stream/blog", BLOG)
    run_id = assert_well_formed(events)
    assert events[0].data == {
        "message": "Stream started", "runId": run_id, "agent": "content", "operation": "generateBlogPost",
    }  # fmt: skip
    assert {event.event for event in events} == {"connected", "token", "progress", "complete"}
    text = "".join(event.data["chunk"] for event in events if event.event == "token")
    done = events[-1].data
    assert set(done) == {"totalTokens", "duration", "usage", "costUsd", "model", "cached", "result"}
    assert done["result"]["text"] == text
    assert (done["model"], done["costUsd"], done["cached"]) == ("offline", 0.0, False)
    assert done["totalTokens"] == done["usage"]["promptTokens"] + done["usage"]["completionTokens"] > 0
    assert done["duration"].endswith("s")


async def test_a_data_stream_grows_and_every_state_is_a_part_of_the_next(make_settings: MakeSettings) -> None:
    async with serve(make_settings(offline_tokens_per_s=600)) as server:
        events = await server.stream("/api/stream/itinerary", ITINERARY)
    assert_well_formed(events)
    partials = [event.data["data"] for event in events if event.event == "partial"]
    assert len(partials) > 2
    counts = [len(partial.get("days", [])) for partial in partials]
    assert counts == sorted(counts)
    assert len(events[-1].data["result"]["days"]) == 3


async def test_recommendations_stream(server: Served) -> None:
    events = await server.stream("/api/stream/recommendations", {"interests": ["food"], "duration": 5})
    assert_well_formed(events)
    assert events[0].data["operation"] == "getDestinationRecommendations"


async def test_every_operation_streams_under_its_own_name(server: Served) -> None:
    events = await server.stream("/api/stream/innovation/generateIdeas", {"niche": "urban gardening", "count": 3})
    assert_well_formed(events)
    assert len(events[-1].data["result"]["ideas"]) == 3


async def test_stream_headers_forbid_buffering_and_name_the_run(server: Served) -> None:
    headers = {"x-api-key": "api_" + "3" * 32}
    async with server.http.post(f"{server.url}/api/stream/blog", json=BLOG, headers=headers) as reply:
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "no-cache" in reply.headers["cache-control"]
        assert reply.headers["x-accel-buffering"] == "no"
        assert reply.headers["x-run-id"].startswith("run_")
        await reply.read()


async def test_the_first_token_comes_long_before_the_last(make_settings: MakeSettings) -> None:
    async with serve(make_settings(offline_tokens_per_s=300)) as server:
        now = asyncio.get_running_loop().time
        async with server.open("/api/stream/blog", BLOG | {"length": "short"}) as events:
            arrivals = [now() async for event in events if event.event == "token"]
        assert arrivals[-1] - arrivals[0] > 0.5


async def test_a_silent_stream_sends_comments(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amrikyy.web.sse.HEARTBEAT_S", 0.05)
    agent = Agent("slow", "Says nothing for a while.")

    class Nothing(Request):
        pass

    class Done(Result):
        done: bool

    @agent.operation()
    async def wait(_: Nothing, run: RunContext) -> Done:
        """Wait."""
        run.progress(0.5, "Half done")
        await asyncio.sleep(0.3)
        return Done(done=True)

    run = await server.runtime.runner.start(wait, Nothing(), owner="test", streams=True)
    sent = await collect(server, run)
    assert sent.count(b": still here\n\n") >= 3
    assert b'data: {"progress":50,"message":"Half done"}' in sent
    assert b'"result":{"done":true}' in sent


async def collect(server: Served, run: object) -> bytes:
    """Call the stream's ASGI response directly, as a route of the server would."""
    from amrikyy.runs.run import Run
    from amrikyy.web.exchange import Exchange
    from amrikyy.web.sse import EventStream

    assert isinstance(run, Run)
    chunks: list[bytes] = []

    async def receive() -> dict[str, object]:
        await asyncio.sleep(30)
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        chunks.append(message.get("body", b""))

    scope = {"exchange": Exchange(cast("Any", None), {}, "req_1"), "headers": [(b"host", b"x")]}
    await EventStream(run, server.runtime.metrics, grace_s=0)(scope, receive, send)
    assert not scope["headers"], "it has no use for them for as long as it lasts"
    return b"".join(chunks)


async def test_leaving_a_stream_cancels_its_run_after_the_grace_time(make_settings: MakeSettings) -> None:
    async with serve(make_settings(offline_tokens_per_s=20)) as server:
        async with server.open("/api/stream/blog", BLOG) as events:
            run_id = (await anext(events)).data["runId"]
            await anext(events)
        run = await eventually_ended(server, run_id)
        assert run["status"] == "cancelled"
        assert run["error"]["code"] == "run_cancelled"
        assert run["usage"].get("usageEstimated") is True


async def eventually_ended(server: Served, run_id: str) -> dict[str, Any]:
    for _ in range(100):
        run: dict[str, Any] = (await server.ask("GET", f"/api/runs/{run_id}")).json["run"]
        if run["status"] != "running":
            return run
        await asyncio.sleep(0.02)
    raise AssertionError("the run did not end")


async def test_delete_cancels_a_run_and_its_reader_is_told(make_settings: MakeSettings) -> None:
    async with serve(make_settings(offline_tokens_per_s=20)) as server:
        async with server.open("/api/stream/blog", BLOG) as events:
            run_id = (await anext(events)).data["runId"]
            reply = await server.ask("DELETE", f"/api/stream/{run_id}")
            assert (reply.status, reply.json["runId"]) == (200, run_id)
            rest = [event async for event in events]
        assert (rest[-1].event, rest[-1].data["code"]) == ("error", "run_cancelled")
        assert set(rest[-1].data) == {"success", "error", "code", "message", "details", "requestId"}
        again = await server.ask("DELETE", f"/api/stream/{run_id}")
        assert (again.status, again.json["code"]) == (409, "run_ended")


async def test_nobody_sees_or_cancels_the_run_of_another(make_settings: MakeSettings) -> None:
    async with (
        serve(make_settings(offline_tokens_per_s=20)) as server,
        server.open("/api/stream/blog", BLOG) as events,
    ):
        run_id = (await anext(events)).data["runId"]
        for method, path in (("DELETE", f"/api/stream/{run_id}"), ("GET", f"/api/runs/{run_id}")):
            reply = await server.ask(method, path, key="other")
            assert (reply.status, reply.json["code"]) == (404, "run_not_found")
        assert (await server.ask("GET", "/api/runs", key="other")).json["runs"] == []
        assert (await server.ask("GET", f"/api/runs/{run_id}", key="admin")).json["run"]["status"] == "running"
        assert (await server.ask("DELETE", f"/api/stream/{run_id}", key="admin")).status == 200
        assert [event async for event in events][-1].event == "error"
        assert (await server.ask("DELETE", f"/api/stream/{run_id}", key="admin")).status == 409
        log = (await server.ask("GET", "/api/audit?action=run.cancel", key="admin")).json["entries"]
        assert [entry["target"] for entry in log] == [run_id], "an administrative act, once"


async def test_a_run_that_never_was_cannot_be_cancelled(server: Served) -> None:
    assert (await server.ask("DELETE", "/api/stream/run_00")).status == 404


async def test_stopping_the_server_ends_streams_with_a_word(make_settings: MakeSettings) -> None:
    async with (
        serve(make_settings(offline_tokens_per_s=10)) as server,
        server.open("/api/stream/blog", BLOG) as events,
    ):
        await anext(events)
        runtime = server.runtime
        closing = asyncio.create_task(runtime.runner.close())
        rest = [event async for event in events]
        await closing
    assert rest[-1].event == "error"


def test_events_are_written_as_the_guide_shows_them() -> None:
    from amrikyy.runs.events import Event
    from amrikyy.runs.run import Run
    from amrikyy.web.sse import EventWriter

    run = Run(owner="user:1", agent="content", operation="generateBlogPost", request=b"{}", deadline_s=1, id="run_1")
    events = [Event("started"), Event("token", 'Th"e\n'), Event("progress", (50, "Half done"))]
    assert EventWriter(run, "req_1").write(1, events).decode() == (
        "id: run_1:1\nevent: connected\n"
        'data: {"message":"Stream started","runId":"run_1","agent":"content","operation":"generateBlogPost"}\n\n'
        'id: run_1:2\nevent: token\ndata: {"chunk":"Th\\"e\\n"}\n\n'
        'id: run_1:3\nevent: progress\ndata: {"progress":50,"message":"Half done"}\n\n'
    )
    assert json.loads('"Th\\"e\\n"') == 'Th"e\n'
