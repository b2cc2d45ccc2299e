"""What collectors receive, and that nothing else notices one that is gone, slow or wrong."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from amrikyy import __version__
from amrikyy.http_client import HttpClient
from amrikyy.settings import ConfigurationError
from amrikyy.telemetry.metrics import Metrics
from amrikyy.traces import OtlpExporter, export
from amrikyy.traces.segment import Segment
from tests.model_server import ModelServer
from tests.serving import MakeSettings, Served, serve
from tests.traces.collector import Collector
from tests.web.test_models_behind import settings_for

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

BLOG = "/api/agents/content/generateBlogPost"
BODY = {"topic": "Night trains across the Alps", "length": "short"}
PRICES = {"gemini-2.0-flash-exp": {"input": 1000, "output": 2000}}


def lost(server: Served, destination: str) -> float:
    return server.runtime.metrics.traces_lost.value(destination)


async def until_lost(metrics: Metrics, destination: str, count: float) -> None:
    async with asyncio.timeout(30):
        while metrics.traces_lost.value(destination) < count:
            await asyncio.sleep(0.01)


@on_sqlite
async def test_langsmith_receives_an_agents_work_with_model_tokens_and_cost(make_settings: MakeSettings) -> None:
    async with Collector() as langsmith, ModelServer() as models:
        settings = settings_for(
            "gemini", models, make_settings, model_prices=PRICES, langsmith_api_key="lsv2_pt_" + "k" * 32,
            langsmith_project="trips", langsmith_endpoint=langsmith.url + "/",
        )  # fmt: skip
        async with serve(settings) as server:
            reply = await server.ask("POST", BLOG, BODY)
            spans = await langsmith.spans(4)
    (received,) = langsmith.received
    assert received.path == "/otel/v1/traces"
    assert received.headers["content-type"] == "application/x-protobuf"
    assert received.headers["x-api-key"] == "lsv2_pt_" + "k" * 32
    assert received.headers["langsmith-project"] == "trips"
    assert received.resource["service.name"] == "amrikyy-agent"
    assert received.resource["service.version"] == __version__
    assert {span["trace"] for span in spans} == {reply.headers["x-trace-id"]}
    by_name = {span["name"]: span for span in spans}
    request, run = by_name[f"POST {BLOG}"], by_name["invoke_agent content"]
    call, look = by_name["chat gemini-2.0-flash-exp"], by_name["cache.get"]
    assert (request["parent"], run["parent"]) == ("", request["id"])
    assert (call["parent"], look["parent"]) == (run["id"], run["id"])
    assert (request["kind"], run["kind"], call["kind"]) == (2, 1, 3)  # server, internal, client
    usage = reply.json["usage"]
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-2.0-flash-exp",
        "gen_ai.response.model": "gemini-2.0-flash-exp",
        "gen_ai.usage.input_tokens": usage["promptTokens"],
        "gen_ai.usage.output_tokens": usage["completionTokens"],
        "gen_ai.usage.cost": pytest.approx(reply.json["costUsd"]),
        "gen_ai.output.type": "text",
    }
    assert call["attributes"] | expected == call["attributes"]
    assert run["attributes"]["gen_ai.operation.name"] == "invoke_agent"
    assert run["attributes"]["amrikyy.run.id"] == reply.json["runId"]
    assert request["attributes"]["http.response.status_code"] == 200
    assert not any(key.startswith(("gen_ai.input", "gen_ai.output.m")) for span in spans for key in span["attributes"])


@on_sqlite
async def test_a_collector_of_ones_own_receives_all_requests_and_langsmith_those_of_agents(
    make_settings: MakeSettings,
) -> None:
    async with Collector() as langsmith, Collector() as otlp:
        settings = make_settings(
            langsmith_api_key="key", langsmith_endpoint=langsmith.url, otel_exporter_otlp_endpoint=otlp.url,
            otel_exporter_otlp_headers="Authorization=Bearer%20abc, x-tenant=a", otel_service_name="trips",
        )  # fmt: skip
        async with serve(settings) as server:
            listed = await server.ask("GET", "/api/agents/list")
            await server.ask("GET", "/api/health/live", key=None)
            blog = await server.ask("POST", BLOG, BODY)
            to_otlp, to_langsmith = await otlp.spans(5), await langsmith.spans(4)
            overview = (await server.ask("GET", "/api/agents/overview")).json["overview"][0]
    assert {span["trace"] for span in to_otlp} == {each.headers["x-trace-id"] for each in (listed, blog)}
    assert {span["trace"] for span in to_langsmith} == {blog.headers["x-trace-id"]}
    received = otlp.received[0]
    assert (received.path, received.headers["x-tenant"]) == ("/v1/traces", "a")
    assert received.headers["authorization"] == "Bearer abc"
    assert received.resource["service.name"] == "trips"
    tracing = {"enabled": True, "sampled": 1.0, "perSecond": 50, "exports": ["langsmith", "otlp"]}
    assert overview["stats"]["tracing"] == tracing


@on_sqlite
@pytest.mark.parametrize("trouble", ["gone", "hangs", "refuses"])
async def test_nothing_else_notices_a_collector_in_trouble(
    make_settings: MakeSettings, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ATTEMPTS", 2)
    monkeypatch.setattr(export, "FIRST_PAUSE_S", 0.01)
    async with Collector() as collector:
        settings = make_settings(otel_exporter_otlp_endpoint=collector.url, otel_exporter_otlp_timeout=200)
        async with serve(settings) as server:
            if trouble == "gone":
                await collector.stop()
            collector.hangs = trouble == "hangs"
            collector.statuses = [401] if trouble == "refuses" else []
            reply = await server.ask("POST", BLOG, BODY)
            assert reply.status == 200
            await until_lost(server.runtime.metrics, "otlp", 1)
            check = (await server.ask("GET", "/api/agents/content/health")).json["health"]
            assert (check["status"], check["checks"]["tracing"]["failing"]) == ("healthy", ["otlp"])
            assert (await server.ask("GET", "/api/health/ready", key=None)).status == 200
            path = f"/api/agents/content/traces/{reply.headers['x-trace-id']}"
            assert (await server.ask("GET", path, key="admin")).status == 200
            stopping_at = time.monotonic()
    assert time.monotonic() - stopping_at < 3 * export.CLOSE_TIMEOUT_S


def segment(trace_id: int, size: int = 0) -> Segment:
    span = [trace_id, 0, "span", "internal", 0, 0, {}, None, "m" * size]
    spans = msgspec.msgpack.encode([span])
    return Segment(f"{trace_id:032x}", "content", None, None, "completed", 0, 0, 0, 0, 0.0, True, spans)


async def exporter(url: str, metrics: Metrics, **options: Any) -> OtlpExporter:
    return OtlpExporter("otlp", url, {}, HttpClient(), metrics, {}, **options)


async def test_a_collector_that_is_busy_is_asked_again_and_receives_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "FIRST_PAUSE_S", 0.01)
    metrics = Metrics()
    async with Collector() as collector:
        collector.statuses = [503, 429]
        opened = await exporter(collector.url, metrics)
        opened.put(segment(1))
        async with asyncio.timeout(20):
            while not collector.received:
                await asyncio.sleep(0.01)
        await opened.close()
    assert metrics.traces_delivered.value("otlp") == 1
    assert metrics.traces_lost.value("otlp") == 0


async def test_what_waits_for_a_collector_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MAX_WAITING_BYTES", 2500)
    metrics = Metrics()
    async with Collector() as collector:
        opened = await exporter(collector.url, metrics)
        for number in range(5):
            opened.put(segment(number + 1, 1000))
        assert metrics.traces_lost.value("otlp") == 3
        await opened.close()  # what waits is sent at once
        assert metrics.traces_delivered.value("otlp") == 2


@on_sqlite
@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"redact_patterns": ["("]}, r"REDACT_PATTERNS: .* is no regular expression of RE2: missing \)"),
        ({"langsmith_api_key": "lsv2\n"}, "LANGSMITH_API_KEY cannot be sent"),
    ],
)
async def test_what_cannot_be_used_stops_the_start_with_a_line_that_names_it(
    make_settings: MakeSettings, wrong: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigurationError, match=line):
        async with serve(make_settings(**wrong)):
            pass
