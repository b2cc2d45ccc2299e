"""Identical requests share one execution; a key makes a repeated request the same run; a full server has a line."""

import asyncio
from typing import Any

import pytest

from tests.model_server import Behaviour, ModelServer
from tests.serving import MakeSettings, Reply, Served, serve
from tests.web.test_models_behind import settings_for

BLOG = {"topic": "AI in Travel", "length": "short"}
FLIGHTS = {"origin": "JFK", "destination": "LAX", "date": "2099-05-01"}
PIECES = ["# A title\n\n", *["word "] * 20]


@pytest.fixture
async def models() -> Any:
    async with ModelServer() as server:
        server.rule = lambda _: Behaviour(pieces=PIECES, pause_s=0.02)
        yield server


async def runs_of(server: Served, key: str = "premium") -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = (await server.ask("GET", "/api/runs?limit=100", key=key)).json["runs"]
    return runs


async def test_fifty_identical_requests_make_one_model_call_and_have_a_run_and_a_cost_each(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    prices = {"gemini-2.0-flash-exp": {"input": 1, "output": 2}}
    async with serve(settings_for("gemini", models, make_settings, model_prices=prices)) as server:
        streams = await asyncio.gather(*(server.stream("/api/stream/blog", BLOG) for _ in range(50)))
        runs = await runs_of(server)
    assert len(models.posts) == 1
    assert len({events[0].data["runId"] for events in streams}) == 50
    texts = {"".join(event.data["chunk"] for event in events if event.event == "token") for events in streams}
    assert texts == {"".join(PIECES)}
    assert {event.data["model"] for events in streams for event in events[-1:]} == {"gemini-2.0-flash-exp"}
    assert len(runs) == 50
    paid = [run for run in runs if run["costUsd"] > 0]
    assert len(paid) == 1
    assert [run["usage"]["totalTokens"] for run in runs if run is not paid[0]] == [0] * 49
    assert sum(events[-1].data["costUsd"] > 0 for events in streams) == 1


async def test_an_answer_in_json_joins_a_stream_of_the_same(models: ModelServer, make_settings: MakeSettings) -> None:
    async with serve(settings_for("gemini", models, make_settings)) as server:
        async with server.open("/api/stream/blog", BLOG) as events:
            await anext(events)
            joined = asyncio.create_task(server.ask("POST", "/api/agents/content/generateBlogPost", BLOG))
            last = [event async for event in events][-1]
        reply = await joined
        assert (reply.headers["x-cache"], reply.json["costUsd"]) == ("join", 0.0)
        assert reply.json["result"] == last.data["result"]
    assert len(models.posts) == 1


async def test_what_may_not_be_shared_is_not(models: ModelServer, make_settings: MakeSettings) -> None:
    async with serve(settings_for("gemini", models, make_settings)) as server:
        await asyncio.gather(
            server.stream("/api/stream/blog", BLOG),
            server.stream("/api/stream/blog", BLOG, key="other"),
            server.stream("/api/stream/blog", BLOG, cache_control="no-cache"),
            server.stream("/api/stream/blog", BLOG | {"length": "medium"}),
        )
    assert len(models.posts) == 4


async def test_operations_declared_shared_are_shared_between_callers(server: Served) -> None:
    async def ask(key: str) -> Reply:
        return await server.ask("POST", "/api/agents/travel/searchFlights", FLIGHTS, key=key)

    replies = await asyncio.gather(*(ask(key) for key in ("user", "premium", "other")))
    assert sorted(reply.headers["x-cache"] for reply in replies) == ["join", "join", "miss"]
    assert len({reply.json["runId"] for reply in replies}) == 3
    assert [len(await runs_of(server, key)) for key in ("user", "premium", "other")] == [1, 1, 1]


async def test_whoever_leaves_takes_nothing_from_the_others(models: ModelServer, make_settings: MakeSettings) -> None:
    async with serve(settings_for("gemini", models, make_settings, stream_grace_s=0)) as server:
        async with server.open("/api/stream/blog", BLOG) as starter:
            first = await anext(starter)
            staying = asyncio.create_task(server.stream("/api/stream/blog", BLOG))
            await anext(starter)
        events = await staying
        assert events[-1].event == "complete"
        assert first.data["runId"] != events[0].data["runId"]
        left = (await server.ask("GET", f"/api/runs/{first.data['runId']}")).json["run"]
        assert left["status"] == "cancelled"
        assert left["usage"]["totalTokens"] > 0, "whoever started it pays"
    assert len(models.posts) == 1


async def test_when_the_last_one_leaves_the_model_is_told(models: ModelServer, make_settings: MakeSettings) -> None:
    models.rule = lambda _: Behaviour(pieces=PIECES, pause_s=1)
    async with serve(settings_for("gemini", models, make_settings, stream_grace_s=0)) as server:
        async with server.open("/api/stream/blog", BLOG) as one, server.open("/api/stream/blog", BLOG) as two:
            await anext(one)
            await anext(two)
            while not models.posts:
                await asyncio.sleep(0.01)
            assert not models.posts[0].closed.is_set()
        async with asyncio.timeout(2):
            await models.posts[0].closed.wait()


# --- Idempotency-Key ---


async def test_a_repeated_request_is_the_same_run_and_another_body_a_409(server: Served) -> None:
    path, headers = "/api/agents/travel/searchFlights", {"idempotency-key": "order-1"}
    first = await server.ask("POST", path, FLIGHTS, headers=headers)
    again = await server.ask("POST", path, FLIGHTS | {"passengers": 1}, headers=headers)
    assert again.json["runId"] == first.json["runId"]
    assert again.json["result"] == first.json["result"]
    other = await server.ask("POST", path, FLIGHTS | {"passengers": 2}, headers=headers)
    assert (other.status, other.json["code"]) == (409, "idempotency_conflict")
    for key, where in (("other", path), ("premium", "/api/stream/travel/searchFlights")):
        elsewhere = await server.ask("POST", where, FLIGHTS, headers=headers, key=key)
        assert elsewhere.headers["x-run-id"] != first.json["runId"]


async def test_repeated_at_the_same_time_it_is_one_run(models: ModelServer, make_settings: MakeSettings) -> None:
    async with serve(settings_for("gemini", models, make_settings)) as server:
        headers = {"idempotency-key": "k", "cache-control": "no-cache"}
        path = "/api/agents/content/generateBlogPost"
        replies = await asyncio.gather(*(server.ask("POST", path, BLOG, headers=headers) for _ in range(10)))
    assert len({reply.json["runId"] for reply in replies}) == 1
    assert len(models.posts) == 1


async def test_a_keyed_run_survives_the_restart_of_its_server(make_settings: MakeSettings) -> None:
    headers = {"idempotency-key": "k"}
    async with serve(make_settings()) as server:
        first = await server.ask("POST", "/api/agents/travel/searchFlights", FLIGHTS, headers=headers)
        stream = await server.stream("/api/stream/blog", BLOG, idempotency_key="k")
    async with serve(make_settings()) as server:
        again = await server.ask("POST", "/api/agents/travel/searchFlights", FLIGHTS, headers=headers)
        rest = await server.stream("/api/stream/blog", BLOG, idempotency_key="k")
    assert again.json == first.json
    assert [event.event for event in rest] == ["connected", "complete"]
    assert rest[-1].data["result"] == stream[-1].data["result"]


async def test_a_failure_of_ours_is_not_kept(models: ModelServer, make_settings: MakeSettings) -> None:
    async with serve(settings_for("gemini", models, make_settings)) as server:
        models.script.append(Behaviour(status=500))
        path, headers = "/api/agents/content/generateBlogPost", {"idempotency-key": "k"}
        assert (await server.ask("POST", path, BLOG, headers=headers)).status == 502
        assert (await server.ask("POST", path, BLOG, headers=headers)).status == 200


@pytest.mark.parametrize("keyed", [True, False])
async def test_a_json_caller_who_disconnects_leaves_the_run_behind_only_with_a_key(
    models: ModelServer, make_settings: MakeSettings, keyed: bool
) -> None:
    models.rule = lambda _: Behaviour(pieces=PIECES, before_s=0.5 if keyed else 60)
    headers = {"idempotency-key": "k"} if keyed else {}
    path = "/api/agents/content/generateBlogPost"
    async with serve(settings_for("gemini", models, make_settings)) as server:
        asking = asyncio.create_task(server.ask("POST", path, BLOG, headers=headers))
        while not models.posts:
            await asyncio.sleep(0.01)
        asking.cancel()
        async with asyncio.timeout(5):
            while (runs := await runs_of(server))[0]["status"] == "running":
                await asyncio.sleep(0.02)
        assert runs[0]["status"] == ("completed" if keyed else "cancelled")
        if keyed:
            again = await server.ask("POST", path, BLOG, headers=headers)
            assert again.json["runId"] == runs[0]["id"]


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "é"])
async def test_a_key_that_is_none_is_a_400(server: Served, key: str) -> None:
    reply = await server.ask("POST", "/api/agents/travel/searchFlights", FLIGHTS, headers={"idempotency-key": key})
    assert (reply.status, reply.json["details"][0]["field"]) == (400, "Idempotency-Key")


async def test_another_process_waits_for_the_run_that_the_key_stands_for(make_settings: MakeSettings) -> None:
    async with (
        serve(make_settings(offline_tokens_per_s=300)) as one,
        serve(make_settings()) as two,
    ):
        two.runtime.records.instance = "another-machine:1:0"
        path, headers = "/api/agents/content/generateBlogPost", {"idempotency-key": "k"}
        first = asyncio.create_task(one.ask("POST", path, BLOG, headers=headers))
        await asyncio.sleep(0.1)
        one.runtime.records.instance = "this-machine:1:0"
        second = await two.ask("POST", path, BLOG, headers=headers)
        assert second.json["runId"] == (await first).json["runId"]
        assert second.json["result"] == (await first).json["result"]


# --- Prefer: respond-async ---


async def test_respond_async_answers_at_once_with_where_to_look(make_settings: MakeSettings) -> None:
    async with serve(make_settings(offline_tokens_per_s=300)) as server:
        path = "/api/agents/content/generateBlogPost"
        reply = await server.ask("POST", path, BLOG, headers={"prefer": "wait=5, respond-async"})
        assert reply.status == 202
        assert reply.headers["preference-applied"] == "respond-async"
        run_id = reply.json["runId"]
        assert (reply.headers["location"], reply.json["status"]) == (f"/api/runs/{run_id}", "running")
        events = await server.stream(f"/api/stream/{run_id}", None)
        assert events[-1].event == "complete"
        assert "token" in {event.event for event in events}
        run = (await server.ask("GET", reply.headers["location"])).json["run"]
        assert run["result"] == events[-1].data["result"]


# --- The line ---


async def test_a_full_server_lets_callers_wait_in_line_tells_them_where_and_then_refuses(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrikyy.runs.slots.ANNOUNCE_EVERY_S", 0.01)
    monkeypatch.setattr("amrikyy.runtime.chores.SAMPLE_EVERY_S", 60)  # how busy the machine really is does not count
    settings = make_settings(offline_tokens_per_s=300, max_concurrent_streams=1, max_queued_streams=3)
    async with serve(settings) as server:
        async with server.open("/api/stream/blog", BLOG) as running:
            await anext(running)
            path = "/api/agents/content/generateVideoScript"
            plain = asyncio.create_task(server.ask("POST", path, {"topic": "Rain", "duration": 60}, key="user"))
            while server.runtime.runner.slots.waiting < 1:
                await asyncio.sleep(0.01)
            async with (
                server.open("/api/stream/blog", BLOG | {"tone": "formal"}) as second,
                server.open("/api/stream/blog", BLOG | {"tone": "casual"}) as third,
            ):
                assert [(await anext(second)).event, (await anext(second)).data] == ["connected", {"position": 1}]
                assert [(await anext(third)).event, (await anext(third)).data] == ["connected", {"position": 2}]
                full = await server.ask("POST", "/api/stream/blog", BLOG | {"tone": "friendly"})
                assert (full.status, full.json["code"], full.headers["retry-after"]) == (503, "server_full", "5")
                uncached = {"cache-control": "no-cache"}
                early = await server.ask("POST", "/api/stream/blog", raw=b"{not json", headers=uncached)
                assert (early.status, early.json["code"]) == (503, "server_full"), "it is certain before the body"
                late = await server.ask("POST", "/api/stream/blog", raw=b"{not json")
                assert late.status == 400, "what is cached or joined needs no room"
                for path in ("/api/agents/content/ask", "/api/stream/content/ask"):
                    assert (await server.ask("POST", path, raw=b"{not json")).json["code"] == "server_full"
                server.runtime.loop_lag_s = 1.0
                saturated = await server.ask("POST", "/api/stream/blog", raw=b"{not json")
                assert (saturated.status, saturated.json["code"]) == (503, "server_full"), "it is not even looked up"
                assert "ratelimit" not in saturated.headers, "nothing was counted"
                server.runtime.loop_lag_s = 0.0
                queued = [run for run in await runs_of(server, "user") if run["status"] == "queued"]
                assert len(queued) == 1
                joined = asyncio.create_task(server.stream("/api/stream/blog", BLOG))
                assert [event async for event in running][-1].event == "complete"
                assert (await joined)[-1].event == "complete", "who joins needs no place in line"
                rest = [event async for event in second]
                assert rest[-1].event == "complete"
                assert not plain.done(), "callers with priority go first"
                moved = [event async for event in third]
                assert [event.data["position"] for event in moved if event.event == "queued"] == [1]
                assert moved[-1].event == "complete"
        assert (await plain).status == 200
        assert (server.runtime.runner.slots.taken, server.runtime.runner.slots.waiting) == (0, 0)


async def test_when_runs_cannot_be_recorded_they_are_refused_before_anything_is_counted_or_read(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrikyy.runs.store.MAX_PENDING", 0)
    refused = await server.ask("POST", "/api/agents/content/generateBlogPost", raw=b"{not json")
    assert (refused.status, refused.json["code"], refused.headers["retry-after"]) == (503, "overloaded", "2")
    assert "ratelimit" not in refused.headers
    assert (await server.ask("GET", "/api/agents/list")).status == 200


async def test_a_caller_who_leaves_the_line_is_not_run(models: ModelServer, make_settings: MakeSettings) -> None:
    settings = settings_for("gemini", models, make_settings, max_concurrent_streams=1, stream_grace_s=0)
    async with serve(settings) as server, server.open("/api/stream/blog", BLOG) as running:
        await anext(running)
        async with server.open("/api/stream/blog", BLOG | {"tone": "formal"}) as waiting:
            await anext(waiting)
        assert [event async for event in running][-1].event == "complete"
        async with asyncio.timeout(2):
            while server.runtime.runner.slots.taken:
                await asyncio.sleep(0.01)
    assert len(models.posts) == 1


async def test_a_draining_server_takes_nothing_new_sends_the_line_away_and_lets_the_rest_finish(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings(offline_tokens_per_s=200, max_concurrent_streams=1, drain_timeout_s=20)
    async with (
        serve(settings) as server,
        server.open("/api/stream/blog", BLOG) as running,
        server.open("/api/stream/blog", BLOG | {"tone": "formal"}) as waiting,
    ):
        await anext(running)
        await anext(waiting)
        draining = asyncio.create_task(server.runtime.drain())
        last = [event async for event in waiting][-1]
        assert (last.event, last.data["code"]) == ("error", "draining")
        refused = await server.ask("POST", "/api/stream/blog", BLOG | {"tone": "casual"})
        assert (refused.status, refused.json["code"]) == (503, "draining")
        assert refused.headers["retry-after"]
        for path in ("/api/stream/blog", "/api/agents/travel/ask", "/api/coordinator/sequential"):
            early = await server.ask("POST", path, raw=b"{not json")
            assert (early.status, early.json["code"]) == (503, "draining"), "before the body"
        assert (await server.ask("GET", "/api/health/ready")).status == 503
        assert (await server.ask("GET", "/api/health/live")).status == 200
        assert [event async for event in running][-1].event == "complete"
        await draining
