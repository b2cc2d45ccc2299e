"""The whole way: HTTP in, a real model server behind, in both protocols, when it works and when it does not."""

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from amrikyy.settings import Settings
from amrikyy.telemetry.logs import configure_logs
from tests.model_server import Behaviour, ModelServer
from tests.serving import MakeSettings, Served, serve
from tests.web.test_operations import REQUESTS

BLOG = {"topic": "AI in Travel"}
IDEAS = {"niche": "urban gardening", "count": 2}
KEY = "a-secret-model-key"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind is enough: nothing here depends on it."""
    return sqlite_url


def settings_for(protocol: str, models: ModelServer, make: MakeSettings, **overrides: Any) -> Settings:
    if protocol == "gemini":
        where: dict[str, Any] = {"models": None, "gemini_api_key": KEY, "gemini_base_url": models.url}
    else:
        where = {"models": "openai:test-model", "openai_api_key": KEY, "openai_base_url": models.openai_url}
    return make(**(where | {"model_attempts": 1} | overrides))


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture(params=["gemini", "openai"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def server(protocol: str, models: ModelServer, make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(settings_for(protocol, models, make_settings)) as served:
        yield served


@pytest.mark.parametrize("headers", [{"retry-after-ms": "inf"}, {"retry-after": "9" * 400}, {"retry-after": "1e9"}])
async def test_a_model_that_wants_to_be_left_alone_for_ever_is_an_error_like_any_other(
    server: Served, models: ModelServer, headers: dict[str, str]
) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "nans"}]
    models.script.append(Behaviour(status=429, headers=headers, body={"error": {"message": "no", "details": details}}))
    reply = await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)
    assert (reply.status, reply.json["code"]) == (502, "model_rate_limited")
    assert 1 <= int(reply.headers.get("retry-after", 1)) <= 31 * 86_400


@pytest.mark.parametrize("operation", REQUESTS)
async def test_every_operation_works_on_every_kind_of_model(
    server: Served, models: ModelServer, operation: str
) -> None:
    reply = await server.ask("POST", f"/api/agents/{operation}", REQUESTS[operation])
    if reply.status == 502:
        # The test server honours the schema and not our validators, so that an answer may be refused; but then it was
        # repaired once, and every mistake is named.
        assert reply.json["code"] == "model_malformed"
        assert reply.json["details"]
        assert any("not valid" in json.dumps(post.json) for post in models.posts)
        return
    assert reply.status == 200, reply.body
    assert set(reply.json["model"].split(",")) <= {"gemini-2.0-flash-exp", "gemini-2.5-pro", "test-model"}
    assert reply.json["usage"]["totalTokens"] > 0


async def test_a_stream_passes_on_what_the_model_writes(server: Served, models: ModelServer) -> None:
    pieces = ["# A title\n\n", "Some ", "words ", "and an end."]
    models.script.append(Behaviour(pieces=pieces))
    events = await server.stream("/api/stream/blog", BLOG)
    assert [event.data["chunk"] for event in events if event.event == "token"] == pieces
    assert events[-1].data["result"]["title"] == "A title"
    assert events[-1].data["usage"].get("usageEstimated") is None


async def test_pro_operations_are_served_by_the_pro_model(models: ModelServer, make_settings: MakeSettings) -> None:
    async with serve(settings_for("gemini", models, make_settings)) as server:
        await server.ask("POST", "/api/agents/innovation/validateIdea", {"idea": "An app that plans rainy days."})
        await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)
    assert "gemini-2.5-pro:" in models.posts[0].path
    assert "gemini-2.0-flash-exp:" in models.posts[-1].path


async def test_a_known_price_is_charged_and_an_unknown_one_is_null(
    protocol: str, models: ModelServer, make_settings: MakeSettings
) -> None:
    prices = {"gemini-2.0-flash-exp": {"input": 1, "output": 2}, "openai:test-model": {"input": 1, "output": 2}}
    for given, known in ((prices, True), ({}, protocol == "gemini")):
        async with serve(settings_for(protocol, models, make_settings, model_prices=given)) as server:
            body = (await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)).json
        assert (body["costUsd"] is not None) is known
        if given:
            usage = body["usage"]
            expected = (usage["promptTokens"] + 2 * usage["completionTokens"]) / 1e6
            assert body["costUsd"] == pytest.approx(expected)


async def test_an_answer_that_is_not_valid_is_repaired_once(server: Served, models: ModelServer) -> None:
    from amrikyy.agents.registry import load_registry

    operation = load_registry()["innovation"]["generateIdeas"]
    assert operation.sample is not None
    sample = operation.sample(operation.request_type.model_validate(IDEAS))
    good = sample if isinstance(sample, str) else sample.model_dump_json(by_alias=True)
    models.script.extend([Behaviour(pieces=['{"ideas": "none"}']), Behaviour(pieces=[good])])
    events = await server.stream("/api/stream/innovation/generateIdeas", IDEAS)
    assert events[-1].event == "complete", events[-1].data
    assert len(models.posts) == 2
    repair = json.dumps(models.posts[1].json)
    assert "ideas" in repair
    assert "not valid" in repair

    models.script.extend([Behaviour(pieces=["no json at all"]), Behaviour(pieces=['{"ideas": 7}'])])
    reply = await server.ask("POST", "/api/agents/innovation/generateIdeas", IDEAS | {"count": 3})
    assert (reply.status, reply.json["code"]) == (502, "model_malformed")
    assert any(detail["field"].startswith("ideas") for detail in reply.json["details"])
    assert len(models.posts) == 4


FAILURES: list[tuple[Behaviour, int, str]] = [
    (Behaviour(status=401, body={"error": {"message": f"bad key {KEY}"}}), 502, "model_key_rejected"),
    (Behaviour(status=404, body={"error": {"message": "no such model"}}), 502, "model_not_found"),
    (Behaviour(status=429, body={"error": {"message": "slow down"}}, headers={"retry-after": "7"}), 502,
     "model_rate_limited"),
    (Behaviour(status=503, body={"error": {"message": "busy"}}), 502, "model_overloaded"),
    (Behaviour(status=500, body="<html>oops</html>"), 502, "model_overloaded"),
    (Behaviour(raw=b"garbage\r\n\r\n"), 502, "model_unreachable"),
    (Behaviour(pieces=[], garbage=b"data: {not json\n\n"), 502, "model_malformed"),
    (Behaviour(pieces=[], cut=True), 502, "model_unreachable"),
    (Behaviour(pieces=[]), 502, "model_malformed"),
    (Behaviour(block="SAFETY"), 502, "model_refused"),
]  # fmt: skip


@pytest.mark.parametrize(("behaviour", "status", "code"), FAILURES, ids=[f"{b.status}-{c}" for b, _, c in FAILURES])
async def test_before_the_first_token_a_failure_is_a_status_in_json_and_an_event_in_a_stream(
    server: Served, models: ModelServer, behaviour: Behaviour, status: int, code: str
) -> None:
    models.script.append(behaviour)
    events = await server.stream("/api/stream/blog", BLOG)
    assert [event.event for event in events] == ["connected", "error"], events
    assert events[-1].data["code"] == code, events[-1].data
    assert KEY not in json.dumps(events[-1].data)

    if not behaviour.garbage:  # which is an event of a stream, and no JSON body
        models.script.append(behaviour)
        reply = await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)
        assert (reply.status, reply.json["code"]) == (status, code), reply.body
        assert KEY not in reply.body.decode()
        if behaviour.headers:
            assert reply.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (Behaviour(pieces=["Half a ", "sentence"], cut=True), "model_unreachable"),
        (Behaviour(pieces=["Half a "], garbage=b'data: {"half": \n\n'), "model_malformed"),
        (Behaviour(pieces=["Half a "], error_in_stream={"message": "overloaded", "code": 503}), "model_overloaded"),
        (Behaviour(pieces=["Half a "], finish=""), "model_malformed"),
    ],
)
async def test_after_the_first_token_a_failure_is_an_event_and_nothing_is_begun_again(
    server: Served, models: ModelServer, behaviour: Behaviour, code: str
) -> None:
    models.script.append(behaviour)
    events = await server.stream("/api/stream/blog", BLOG)
    assert "token" in [event.event for event in events]
    assert (events[-1].event, events[-1].data["code"]) == ("error", code), events[-1].data
    assert len(models.posts) == 1
    run = (await server.ask("GET", f"/api/runs/{events[0].data['runId']}")).json["run"]
    assert (run["status"], run["error"]["code"]) == ("failed", code)
    assert run["usage"]["completionTokens"] > 0
    assert run["usage"]["usageEstimated"] is True


async def test_a_silent_model_is_a_504_before_and_an_error_event_after_the_first_token(
    protocol: str, models: ModelServer, make_settings: MakeSettings
) -> None:
    short = {"model_first_token_timeout_s": 0.2, "model_token_timeout_s": 0.2, "model_timeout_s": 0.5}
    async with serve(settings_for(protocol, models, make_settings, **short)) as server:
        models.script.append(Behaviour(before_s=30))
        reply = await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)
        assert (reply.status, reply.json["code"]) == (504, "model_timeout")
        assert "MODEL_TIMEOUT_S" in reply.json["message"]
        models.script.append(Behaviour(before_s=30))
        events = await server.stream("/api/stream/blog", BLOG)
        assert "MODEL_FIRST_TOKEN_TIMEOUT_S" in events[-1].data["message"]
        models.script.append(Behaviour(pieces=["One", "two"], hang_after=1, keep_alive_comments=True))
        events = await server.stream("/api/stream/blog", BLOG)
        assert [event.event for event in events] == ["connected", "token", "error"]
        assert "MODEL_TOKEN_TIMEOUT_S" in events[-1].data["message"]


async def test_a_failing_model_is_tried_again_and_then_the_next_one_answers(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    settings = make_settings(
        models="gemini:first,openai:second", gemini_api_key=KEY, gemini_base_url=models.url, openai_api_key=KEY,
        openai_base_url=models.openai_url, model_attempts=2,
    )  # fmt: skip
    async with serve(settings) as server:
        busy = Behaviour(status=503, body={"error": {"message": "busy"}}, headers={"retry-after": "0"})
        models.script.extend([busy, busy])
        body = (await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)).json
        assert body["model"] == "second"
        assert [post.path.split("/")[1] for post in models.posts] == ["v1beta", "v1beta", "v1"]
        models.script.extend([busy] * 4)
        reply = await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG | {"length": "short"})
        assert reply.status == 502
        assert [detail["model"] for detail in reply.json["details"]] == ["gemini:first", "openai:second"]


@pytest.mark.parametrize("way", ["leave", "delete"])
async def test_leaving_or_cancelling_a_stream_closes_the_connection_to_the_model_at_once(
    server: Served, models: ModelServer, way: str
) -> None:
    models.script.append(Behaviour(pieces=["word "] * 1000, pause_s=0.05))
    async with server.open("/api/stream/blog", BLOG) as events:
        first = await anext(events)
        await anext(events)
        if way == "delete":
            await server.ask("DELETE", f"/api/stream/{first.data['runId']}")
            last = [event async for event in events][-1]
            assert last.data["code"] == "run_cancelled"
    left_at = asyncio.get_running_loop().time()
    await asyncio.wait_for(models.posts[0].closed.wait(), 2)
    closed_at = models.posts[0].closed_at
    assert closed_at is not None
    assert closed_at - left_at < 0.05 + 0.5  # the grace time of these tests, and half a second


async def test_a_json_caller_who_disconnects_takes_its_run_along(server: Served, models: ModelServer) -> None:
    models.script.append(Behaviour(before_s=30))
    asking = asyncio.create_task(server.ask("POST", "/api/agents/content/generateBlogPost", BLOG))
    while not models.posts:
        await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait_for(models.posts[0].closed.wait(), 2)
    runs = (await server.ask("GET", "/api/runs")).json["runs"]
    assert [run["status"] for run in runs] == ["cancelled"]


async def test_the_access_line_says_who_was_refused_and_what_a_stream_failed_with(
    protocol: str, models: ModelServer, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    settings = settings_for(protocol, models, make_settings, app_env="production", trusted_proxies="127.0.0.1")
    async with serve(settings) as server:
        models.script.append(Behaviour(pieces=["# Half a "], cut=True))
        await server.stream("/api/stream/blog", {"topic": "AI in Travel"})
        forwarded = {"X-Forwarded-For": "10.0.0.1, 203.0.113.7"}
        await server.ask("GET", "/api/runs", key=None, headers={"x-api-key": "api_wrong", **forwarded})
        await server.ask("GET", "/api/runs")
    lines = [json.loads(line) for line in output.getvalue().splitlines() if line.startswith("{")]
    assert [(line["status"], line["code"], line["address"]) for line in lines] == [
        (200, "model_unreachable", "127.0.0.1"),
        (401, "invalid_api_key", "203.0.113.7"),
        (200, None, "127.0.0.1"),
    ]


async def test_no_prompt_and_no_key_is_logged(
    protocol: str, models: ModelServer, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    before = structlog.get_config()
    configure_logs(json=True, level="debug", stream=output)
    secret = "a-very-private-topic"
    async with serve(settings_for(protocol, models, make_settings, app_env="production")) as server:
        models.script.append(Behaviour(status=500, body="oops"))
        await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": secret})
        await server.stream("/api/stream/blog", {"topic": secret})
        await server.ask("POST", "/api/auth/login", {"email": "a@example.com", "password": secret}, key=None)
    logged = output.getvalue()
    structlog.configure(**before)
    lines = [json.loads(line) for line in logged.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["path"], line["status"]) for line in requests] == [
        ("/api/agents/content/generateBlogPost", 502), ("/api/stream/blog", 200), ("/api/auth/login", 401),
    ]  # fmt: skip
    assert all(line["caller"].startswith("envkey:") and line["run_id"] for line in requests[:2])
    for hidden in (secret, KEY, "api_3333"):
        assert hidden not in logged
