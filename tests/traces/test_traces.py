"""Traces as an operator sees them: listed by agent, whole by their id, soon after it happened."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from amrikyy.errors import Unavailable
from amrikyy.telemetry.spans import Tracer
from amrikyy.traces import recorder
from tests.model_server import Behaviour, ModelServer
from tests.serving import MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for

BLOG = "/api/agents/content/generateBlogPost"
BODY = {"topic": "Night trains across the Alps", "length": "short"}
STEP = {"agent": "content", "method": "generateBlogPost", "params": BODY}
PRICES = {"gemini-2.0-flash-exp": {"input": 1000, "output": 2000}}


@pytest.fixture(params=["gemini", "openai"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def listed(server: Served, agent: str = "content", limit: int = 20) -> list[dict[str, Any]]:
    reply = await server.ask("GET", f"/api/agents/{agent}/traces?limit={limit}", key="admin")
    assert reply.status == 200, reply.body
    assert reply.json["count"] == len(reply.json["traces"])
    traces: list[dict[str, Any]] = reply.json["traces"]
    return traces


async def whole(server: Served, trace_id: str, agent: str = "content") -> dict[str, Any]:
    reply = await server.ask("GET", f"/api/agents/{agent}/traces/{trace_id}", key="admin")
    assert reply.status == 200, reply.body
    trace: dict[str, Any] = reply.json["trace"]
    return trace


def ended(span: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(span["startedAt"]) + timedelta(milliseconds=span["durationMs"])


async def test_an_operation_is_listed_as_a_trace_at_once_and_its_spans_are_a_tree(server: Served) -> None:
    reply = await server.ask("POST", BLOG, BODY)
    (trace,) = await listed(server)
    assert trace == {
        "id": reply.headers["x-trace-id"],
        "operation": "generateBlogPost",
        "model": "offline",
        "status": "completed",
        "startedAt": trace["startedAt"],
        "durationMs": trace["durationMs"],
        "tokens": {"input": reply.json["usage"]["promptTokens"], "output": reply.json["usage"]["completionTokens"]},
        "costUsd": 0.0,
    }
    (request,) = (await whole(server, trace["id"]))["spans"]
    assert request["name"] == f"POST {BLOG}"
    assert request["attributes"]["http.response.status_code"] == 200
    (run,) = request["children"]
    assert run["name"] == "invoke_agent content"
    assert run["attributes"]["amrikyy.run.id"] == reply.json["runId"]
    assert ended(run) <= ended(request), "it is handed in later, but has ended before"
    recorded = (await server.ask("GET", f"/api/runs/{reply.json['runId']}")).json["run"]
    assert abs(ended(run) - ended(recorded)) < timedelta(milliseconds=0.2), "it begins before the run, and ends with it"
    look, call = run["children"]
    assert (look["name"], look["attributes"]["amrikyy.cache"]) == ("cache.get", "miss")
    assert (call["name"], call["kind"], call["status"]) == ("chat offline", "client", "ok")
    assert call["attributes"]["gen_ai.usage.output_tokens"] == reply.json["usage"]["completionTokens"]


async def test_a_callers_trace_goes_on_through_the_server_to_the_model(
    make_settings: MakeSettings, protocol: str
) -> None:
    trace_id, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with ModelServer() as models, serve(settings_for(protocol, models, make_settings)) as server:
        given = {"traceparent": f"00-{trace_id}-{caller}-01"}
        reply = await server.ask("POST", BLOG, BODY, headers=given)
        assert reply.headers["x-trace-id"] == trace_id
        (sent,) = models.posts
        (request,) = (await whole(server, trace_id))["spans"]
    assert request["parentId"] == caller
    (run,) = request["children"]
    call = run["children"][-1]
    assert sent.headers["traceparent"] == f"00-{trace_id}-{call['id']}-01"


async def test_what_a_caller_does_not_sample_is_not_kept_and_a_broken_header_is_as_good_as_none(
    server: Served,
) -> None:
    unsampled = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
    assert "x-trace-id" not in (await server.ask("POST", BLOG, BODY, headers=unsampled)).headers
    assert await listed(server) == []
    broken = {"traceparent": "00-00000000000000000000000000000000-b7ad6b7169203331-01"}
    assert "x-trace-id" in (await server.ask("POST", BLOG, BODY, headers=broken)).headers
    assert len(await listed(server)) == 1


async def test_with_a_ratio_of_zero_nothing_is_traced_whatever_a_caller_says(make_settings: MakeSettings) -> None:
    async with serve(make_settings(otel_traces_sampler_arg=0)) as server:
        given = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        assert "x-trace-id" not in (await server.ask("POST", BLOG, BODY, headers=given)).headers
        assert await listed(server) == []
        check = (await server.ask("GET", "/api/agents/content/health")).json["health"]["checks"]["tracing"]
    assert check == {"status": "not_configured", "sampled": 0.0, "failing": []}


async def test_every_attempt_has_a_span_and_the_one_that_answers_has_the_tokens(make_settings: MakeSettings) -> None:
    async with ModelServer() as models:
        models.script.append(Behaviour(status=503))
        settings = settings_for("gemini", models, make_settings, model_attempts=2, model_prices=PRICES)
        async with serve(settings) as server:
            reply = await server.ask("POST", BLOG, BODY)
            (trace,) = await listed(server)
            (request,) = (await whole(server, trace["id"]))["spans"]
    (run,) = request["children"]
    _, failed, answered = run["children"]
    assert (failed["status"], failed["error"]) == ("error", "model_overloaded")
    assert "gen_ai.usage.input_tokens" not in failed["attributes"]
    attributes = answered["attributes"]
    assert (attributes["gen_ai.provider.name"], attributes["amrikyy.attempt"]) == ("gcp.gemini", 2)
    assert attributes["gen_ai.usage.cost"] == reply.json["costUsd"] == trace["costUsd"] > 0


async def test_a_failure_a_refusal_and_a_cancelled_stream_are_told_apart(make_settings: MakeSettings) -> None:
    async with ModelServer() as models:
        settings = settings_for("gemini", models, make_settings, stream_grace_s=0)
        async with serve(settings) as server:
            models.script.append(Behaviour(status=400))
            await server.ask("POST", BLOG, BODY)
            await server.ask("POST", BLOG, {})
            models.script.append(Behaviour(hang_after=2))
            async with server.open("/api/stream/blog", BODY) as events:
                async for event in events:
                    if event.event == "token":
                        break
            async with asyncio.timeout(20):
                while len(traces := await listed(server)) < 3:
                    await asyncio.sleep(0.01)
            cancelled = await whole(server, traces[0]["id"])
    assert [trace["status"] for trace in traces] == ["cancelled", "refused", "failed"]
    (request,) = cancelled["spans"]
    (run,) = request["children"]
    call = run["children"][-1]
    assert (call["error"], call["attributes"]["amrikyy.usage_estimated"]) == ("cancelled", True)


async def test_a_result_from_the_cache_and_a_joined_run_say_so(server: Served) -> None:
    first, second = await asyncio.gather(*(server.ask("POST", BLOG, BODY) for _ in range(2)))
    third = await server.ask("POST", BLOG, BODY)
    found = {}
    for reply in (first, second, third):
        (request,) = (await whole(server, reply.headers["x-trace-id"]))["spans"]
        (run,) = request["children"]
        found[run["attributes"].get("amrikyy.cache")] = [child["name"] for child in run["children"]]
    assert found == {None: ["cache.get", "chat offline"], "join": ["cache.get"], "hit": ["cache.get"]}


async def test_parts_of_a_run_and_a_question_in_words_are_in_its_trace(server: Served) -> None:
    package = {"origin": "JFK", "destination": "LHR", "date": "2100-01-01", "duration": 3, "budget": 5000}
    await server.ask("POST", "/api/agents/travel/createCompletePackage", package)
    (trace,) = await listed(server, "travel")
    assert trace["operation"] == "createCompletePackage"
    (request,) = (await whole(server, trace["id"], "travel"))["spans"]
    (run,) = request["children"]
    parts = [child["attributes"].get("amrikyy.operation") for child in run["children"]]
    assert {"searchFlights", "searchHotels", "generateItinerary"} <= set(parts)
    await server.ask("POST", "/api/agents/travel/ask", {"query": "flights from New York to London"})
    trace, _ = await listed(server, "travel")
    assert trace["operation"] == "searchFlights"
    (request,) = (await whole(server, trace["id"], "travel"))["spans"]
    assert [run["attributes"]["amrikyy.operation"] for run in request["children"]] == ["plan", "searchFlights"]
    await server.ask("POST", BLOG, BODY)
    assert await listed(server, "travel", limit=1) == [trace]  # a newer one of another agent is not counted


async def test_the_steps_of_a_workflow_and_what_started_it_are_one_trace(server: Served) -> None:
    ideas = {"agent": "innovation", "method": "generateIdeas", "params": {"niche": "travel", "count": 1}}
    reply = await server.ask("POST", "/api/coordinator/sequential", {"steps": [ideas, STEP]})
    assert reply.status == 200
    trace_id = reply.headers["x-trace-id"]
    for agent in ("content", "innovation"):
        assert [trace["id"] for trace in await listed(server, agent)] == [trace_id]
    (request,) = (await whole(server, trace_id))["spans"]
    (workflow,) = request["children"]
    assert workflow["attributes"]["amrikyy.workflow.id"] == reply.json["workflowId"]
    assert [step["name"] for step in workflow["children"]] == ["step steps.0", "step steps.1"]
    assert [run["name"] for run in workflow["children"][0]["children"]] == ["invoke_agent innovation"]


async def test_who_may_not_see_statistics_sees_no_trace(server: Served) -> None:
    trace_id = (await server.ask("POST", BLOG, BODY)).headers["x-trace-id"]
    for path in ("/api/agents/content/traces", f"/api/agents/content/traces/{trace_id}"):
        assert (await server.ask("GET", path)).status == 403
        assert (await server.ask("GET", path, key="admin")).status == 200
    for path in (f"/api/agents/travel/traces/{trace_id}", "/api/agents/content/traces/nothing"):
        reply = await server.ask("GET", path, key="admin")
        assert (reply.status, reply.json["code"]) == (404, "trace_not_found")


async def test_only_the_newest_are_kept(make_settings: MakeSettings) -> None:
    async with serve(make_settings(trace_max=20)) as server:
        replies = [await server.ask("POST", BLOG, {"topic": f"Train {number}"}) for number in range(25)]
        newest = [reply.headers["x-trace-id"] for reply in reversed(replies)]
        assert await listed(server, limit=3) != []
        traces = await listed(server, limit=100)
        assert [trace["id"] for trace in traces] == newest[: len(traces)]
        assert 19 <= len(traces) <= 21
        assert await server.runtime.traces.store.purge(timedelta(0)) == len(traces)
        assert await listed(server) == []


async def test_requests_that_have_nothing_to_do_with_agents_are_not_kept(server: Served) -> None:
    reply = await server.ask("GET", "/api/agents/list")
    assert "x-trace-id" not in reply.headers
    await server.runtime.traces.flush()
    assert await server.runtime.traces.store.purge(timedelta(0)) == 0


async def test_while_the_database_is_away_traces_wait_up_to_a_bound_and_the_rest_is_counted(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(batch: object) -> None:
        raise Unavailable("The database is away.")

    store = server.runtime.traces.store
    monkeypatch.setattr(recorder, "MAX_PENDING", 3)
    with monkeypatch.context() as patched:
        patched.setattr(store, "write", away)
        for number in range(5):
            assert (await server.ask("POST", BLOG, {"topic": f"Train {number}"})).status == 200
        async with asyncio.timeout(20):
            while "database" not in server.runtime.traces.failing:
                await asyncio.sleep(0.01)
        check = (await server.ask("GET", "/api/agents/content/health")).json["health"]
    assert (check["status"], check["checks"]["tracing"]["failing"]) == ("healthy", ["database"])
    assert len(await listed(server)) == 3
    assert server.runtime.metrics.traces_lost.value("database") == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_two_processes_do_for_one_workflow_is_one_trace(make_settings: MakeSettings) -> None:
    async with ModelServer() as models:
        models.rule = lambda post: Behaviour(hang_after=0) if "Part two" in str(post.json) else Behaviour()
        settings = settings_for("gemini", models, make_settings, drain_timeout_s=0)
        steps = [{**STEP, "params": {"topic": f"Part {name}"}} for name in ("one", "two")]
        async with serve(settings) as first:
            reply = await first.ask("POST", "/api/coordinator/sequential", {"steps": steps, "input": {}, "async": True})
            assert reply.status == 202
            async with asyncio.timeout(30):
                while not any("Part two" in str(post.json) for post in models.posts):
                    await asyncio.sleep(0.02)
        models.rule = lambda _: Behaviour()
        async with serve(settings) as second:
            status = f"/api/coordinator/status/{reply.json['workflowId']}"
            async with asyncio.timeout(60):
                while (await second.ask("GET", status)).json["status"] != "completed":
                    await asyncio.sleep(0.05)
            (request,) = (await whole(second, reply.headers["x-trace-id"]))["spans"]
            (trace,) = await listed(second)
    (workflow,) = request["children"]
    assert workflow["attributes"]["amrikyy.run.status"] == "completed"
    ended = {child["name"]: child["attributes"]["amrikyy.run.status"] for child in workflow["children"]}
    assert ended == {"step steps.0": "completed", "step steps.1": "completed"}
    assert trace["operation"] == "generateBlogPost"


def test_no_more_than_so_many_begin_in_a_second_those_of_callers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([7.0, 7.2, 7.4, 7.6, 7.8, 8.0])
    monkeypatch.setattr("amrikyy.telemetry.spans.monotonic", lambda: next(seconds))
    tracer = Tracer(1, per_second=2)
    tracer.sink = lambda ended: None
    callers = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    first, second = tracer.begin(), tracer.begin(callers)
    assert first is not None
    assert second is not None
    assert second.trace_id == "a" * 32
    assert tracer.begin() is None
    assert tracer.begin(callers) is None
    first.discard()
    assert tracer.begin() is not None, "what was no agent's request does not count"
    assert tracer.begin() is not None, "the next second"
