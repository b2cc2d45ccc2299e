"""What is secret leaves no trace: not in the table, not in the log, not at a collector, even with content traced."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from sqlalchemy import text

from amrikyy.telemetry.logs import configure_logs
from tests.model_server import Behaviour, ModelServer
from tests.serving import KEYS, MakeSettings, Served, serve
from tests.traces.collector import Collector
from tests.web.test_models_behind import KEY, settings_for

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

EMAIL, CARD, TOKEN, PHONE, OWN = (
    "ana.maria@example.com", "4111 1111 1111 1111", "sk-proj-" + "a1B2c3" * 6, "+49 30 901820", "EMP-123456",
)  # fmt: skip
SECRETS = (EMAIL, CARD, TOKEN, PHONE, OWN)
TOPIC = f"A letter to {EMAIL} about {CARD}, {TOKEN}, {PHONE} and {OWN}"
MARKS = ("[email]", "[card]", "[key]", "[phone]", "[redacted]")


@contextmanager
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that is logged, as in production, with DEBUG."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    before = structlog.get_config()
    configure_logs(json=True, level="debug", stream=output)
    yield output
    structlog.configure(**before)
    monkeypatch.undo()


async def stored(server: Served) -> list[bytes]:
    await server.runtime.traces.flush()
    async with server.runtime.database.connect() as connection:
        return [bytes(row.spans) for row in await connection.execute(text("SELECT spans FROM trace_segments"))]


async def everything(server: Served, models: ModelServer) -> None:
    """Each way in which a text of a caller's comes into the server, and out of a model."""
    blog, step = {"topic": TOPIC}, {"agent": "content", "method": "generateBlogPost", "params": {"topic": f"2 {TOPIC}"}}
    models.rule = lambda _: Behaviour(pieces=["# Title\n\n", f"As you said, {TOPIC}. ", "The end."])
    await server.ask("POST", "/api/agents/content/generateBlogPost", blog)
    await server.ask("POST", "/api/agents/content/generateBlogPost", blog)
    await server.stream("/api/stream/blog", blog)
    await server.ask("POST", "/api/coordinator/sequential", {"steps": [step], "input": {}})
    await server.ask("POST", "/api/agents/content/ask", {"query": f"a blog post: {TOPIC}"})
    models.rule = lambda _: Behaviour(status=400, body={"error": {"message": f"I do not like {TOPIC}"}})
    await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": f"3 {TOPIC}"})
    await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": TOPIC, "tone": TOPIC})
    await server.ask("GET", f"/api/{EMAIL}?card={CARD.replace(' ', '')}")


async def test_addresses_numbers_and_keys_are_nowhere_though_content_is_traced(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logged(monkeypatch) as output:
        async with Collector() as collector, ModelServer() as models:
            settings = settings_for(
                "openai", models, make_settings, app_env="production", redact_patterns=[r"EMP-\d+"],
                otel_instrumentation_genai_capture_message_content=True, otel_exporter_otlp_endpoint=collector.url,
                debug="*", langsmith_api_key="lsv2_pt_" + "k" * 32, langsmith_endpoint=collector.url,
            )  # fmt: skip
            async with serve(settings) as server:
                await everything(server, models)
                spans = b"".join(await stored(server))
            exported = b"".join(each.body for each in collector.received)
    assert spans
    for where in (spans, exported):
        assert b"A letter to" in where, "content was asked for"
        for mark in MARKS:
            assert mark.encode() in where
        for secret in (*SECRETS, KEY, *KEYS.values(), "lsv2_pt_"):
            assert secret.encode() not in where
    lines = output.getvalue()
    for secret in (*SECRETS, KEY, *KEYS.values(), "A letter to", "As you said", "lsv2_pt_", "j" * 40):
        assert secret not in lines
    requests = [line for line in map(json.loads, lines.splitlines()) if line["event"] == "request"]
    assert len(requests) == 8


async def test_by_default_nothing_that_was_asked_or_answered_is_traced(make_settings: MakeSettings) -> None:
    async with Collector() as collector, ModelServer() as models:
        settings = settings_for("gemini", models, make_settings, otel_exporter_otlp_endpoint=collector.url)
        async with serve(settings) as server:
            await everything(server, models)
            spans = b"".join(await stored(server))
        exported = b"".join(each.body for each in collector.received)
    assert b"gen_ai.usage.output_tokens" in exported
    for where in (spans, exported):
        assert b"invoke_agent content" in where
        for text_of_it in (*SECRETS, "A letter to", "As you said"):
            assert text_of_it.encode() not in where


async def test_with_an_encryption_key_traces_rest_encrypted_and_are_read_with_it(make_settings: MakeSettings) -> None:
    settings = make_settings(encryption_key="k" * 32, otel_instrumentation_genai_capture_message_content=True)
    async with serve(settings) as server:
        reply = await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": "Night trains"})
        (spans,) = await stored(server)
        assert b"Night" not in spans
        assert b"gen_ai" not in spans
        path = f"/api/agents/content/traces/{reply.headers['x-trace-id']}"
        trace = (await server.ask("GET", path, key="admin")).json["trace"]
    run = trace["spans"][0]["children"][0]
    (message,) = json.loads(run["attributes"]["gen_ai.input.messages"])
    assert "Night trains" in message["parts"][0]["content"]


async def test_the_access_line_has_what_a_request_cost_and_where_its_trace_is(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logged(monkeypatch) as output:
        async with ModelServer() as models:
            prices = {"gemini-2.0-flash-exp": {"input": 1000, "output": 2000}}
            settings = settings_for("gemini", models, make_settings, app_env="production", model_prices=prices)
            async with serve(settings) as server:
                answered = await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": "Night trains"})
                events = await server.stream("/api/stream/blog", {"topic": "Day trains"})
                step = {"agent": "content", "method": "generateBlogPost", "params": {"topic": "Noon trains"}}
                workflow = await server.ask("POST", "/api/coordinator/sequential", {"steps": [step], "input": {}})
                await server.ask("GET", "/api/agents/list")
    lines: list[dict[str, Any]] = [
        line for line in map(json.loads, output.getvalue().splitlines()) if line["event"] == "request"
    ]
    blog, stream, plan, listing = lines
    assert (blog["path"], blog["status"]) == ("/api/agents/content/generateBlogPost", 200)
    assert blog["run_id"] == answered.json["runId"]
    assert blog["trace_id"] == answered.headers["x-trace-id"]
    assert (blog["tokens"], blog["cost_usd"]) == (answered.json["usage"]["totalTokens"], answered.json["costUsd"])
    complete = events[-1].data
    assert (stream["tokens"], stream["cost_usd"]) == (complete["totalTokens"], complete["costUsd"])
    assert plan["cost_usd"] == workflow.json["costUsd"] > 0
    assert (listing["tokens"], listing["cost_usd"], listing["trace_id"]) == (None, None, None)


async def test_with_debug_each_part_of_a_request_is_a_line_that_leads_to_its_trace(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for debug, parts in (("1", ["POST /api/agents/content/generateBlogPost", "invoke_agent content"]), (None, [])):
        with logged(monkeypatch) as output:
            async with serve(make_settings(app_env="production", debug=debug)) as server:
                reply = await server.ask("POST", "/api/agents/content/generateBlogPost", {"topic": "Night trains"})
                await server.runtime.traces.flush()
        spans = [line for line in map(json.loads, output.getvalue().splitlines()) if line["event"] == "span"]
        assert [span["name"] for span in spans][:2] == parts
        assert {span["trace_id"] for span in spans} <= {reply.headers["x-trace-id"]}
        assert all(span["ms"] >= 0 for span in spans)
        assert "chat offline" in [span["name"] for span in spans] or not parts


async def test_a_level_above_info_silences_access_lines(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logged(monkeypatch) as output:
        async with serve(make_settings(log_level="warning", app_env="production")) as server:
            await server.ask("GET", "/api/agents/list")
    assert output.getvalue() == ""
