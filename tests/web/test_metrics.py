"""Metrics: the guide's names and labels, and numbers that equal what was sent."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from amrikyy.db.engine import POOL_OVERFLOW, POOL_SIZE
from amrikyy.errors import Unavailable
from amrikyy.workflows.engine import CONNECTIONS
from tests.model_server import Behaviour, ModelServer
from tests.serving import MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for

BLOG = {"topic": "AI in Travel", "length": "short"}
MODEL = "model=gemini-2.0-flash-exp"
PRICES = {"gemini-2.0-flash-exp": {"input": 1, "output": 2}}

GUIDE = {
    "http_requests_total", "http_request_duration_seconds", "stream_sessions_total", "stream_sessions_active",
    "llm_calls_total", "llm_tokens_used_total", "llm_cost_dollars_total", "agent_executions_total",
    "cache_operations_total", "rate_limit_hits_total",
}  # fmt: skip


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        server.rule = lambda _: Behaviour(pieces=["# A title\n\n", *["word "] * 20])
        yield server


@pytest.fixture
async def server(models: ModelServer, make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(settings_for("gemini", models, make_settings, model_prices=PRICES)) as served:
        yield served


async def numbers(server: Served) -> dict[str, float]:
    """Every sample, by its name with its labels in order."""
    reply = await server.ask("GET", "/api/metrics", key="admin")
    assert reply.status == 200
    return {
        f"{sample.name}{{{','.join(f'{key}={value}' for key, value in sorted(sample.labels.items()))}}}": sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


async def test_the_guides_metrics_are_there_with_help_and_the_labels_it_shows(server: Served) -> None:
    await server.ask("GET", "/api/health", key=None)
    await server.stream("/api/stream/blog", BLOG)
    text = (await server.ask("GET", "/api/metrics", key="admin")).body.decode()
    for name in GUIDE:
        assert f"# HELP {name} " in text
        assert f"# TYPE {name} " in text
    assert 'http_requests_total{method="GET",route="/api/health",status="200"} 1.0' in text
    assert 'llm_tokens_used_total{agent="content",model="gemini-2.0-flash-exp",type="input"}' in text.replace(
        'model="gemini-2.0-flash-exp",agent="content"', 'agent="content",model="gemini-2.0-flash-exp"'
    )
    assert 'stream_sessions_active{agent="content"} 0.0' in text
    assert "_created" not in text


async def test_the_numbers_equal_what_was_sent(server: Served, models: ModelServer) -> None:
    path = "/api/agents/content/generateBlogPost"
    replies = [await server.ask("POST", path, BLOG | {"topic": f"Part {number}"}) for number in range(3)]
    replies.append(await server.ask("POST", path, BLOG | {"topic": "Part 0"}))
    events = await server.stream("/api/stream/blog", BLOG)
    models.script.append(Behaviour(status=400))
    assert (await server.ask("POST", path, BLOG | {"topic": "Broken"})).status == 502
    counted = await numbers(server)
    usages = [reply.json["usage"] for reply in replies] + [events[-1].data["usage"]]
    for kind, field in (("input", "promptTokens"), ("output", "completionTokens")):
        total = sum(usage[field] for usage in usages)
        assert counted[f"llm_tokens_used_total{{agent=content,{MODEL},type={kind}}}"] == total > 0
    dollars = sum(reply.json["costUsd"] for reply in replies) + events[-1].data["costUsd"]
    assert counted[f"llm_cost_dollars_total{{agent=content,{MODEL}}}"] == pytest.approx(dollars, abs=1e-9)
    assert counted[f"llm_calls_total{{agent=content,{MODEL},status=ok}}"] == 4
    assert counted[f"llm_calls_total{{agent=content,{MODEL},status=model_request_rejected}}"] == 1
    executions = "agent_executions_total{agent=content,operation=generateBlogPost,status="
    assert (counted[f"{executions}completed}}"], counted[f"{executions}failed}}"]) == (5, 1)
    assert counted["cache_operations_total{agent=content,result=hit}"] == 1
    assert counted["cache_operations_total{agent=content,result=miss}"] == 5
    assert counted["cache_hit_rate{agent=content}"] == pytest.approx(1 / 6)
    assert counted[f"http_requests_total{{method=POST,route={path},status=200}}"] == 4
    assert counted[f"http_requests_total{{method=POST,route={path},status=502}}"] == 1
    assert counted["stream_sessions_total{agent=content,status=completed}"] == 1
    assert counted["stream_chunks_total{agent=content}"] == len(events)
    assert counted["stream_time_to_first_token_seconds_count{agent=content}"] == 1


async def test_tokens_are_counted_once_however_the_stream_ends(server: Served, models: ModelServer) -> None:
    models.rule = lambda _: Behaviour(pieces=["# A title\n\n", *["word "] * 50], pause_s=0.05)
    async with server.open("/api/stream/blog", BLOG) as events:
        run_id = (await anext(events)).data["runId"]
        for _ in range(3):
            await anext(events)
        assert (await numbers(server))["stream_sessions_active{agent=content}"] == 1
        await server.ask("DELETE", f"/api/stream/{run_id}")
    async with asyncio.timeout(5):
        while (run := (await server.ask("GET", f"/api/runs/{run_id}")).json["run"])["status"] == "running":
            await asyncio.sleep(0.01)
    counted = await numbers(server)
    output = f"llm_tokens_used_total{{agent=content,{MODEL},type=output}}"
    assert counted[output] == run["usage"]["completionTokens"] > 0
    assert counted[f"llm_cost_dollars_total{{agent=content,{MODEL}}}"] == pytest.approx(run["costUsd"])
    assert counted[f"llm_calls_total{{agent=content,{MODEL},status=cancelled}}"] == 1
    assert counted["stream_sessions_active{agent=content}"] == 0


async def test_a_caller_cannot_make_new_label_values(server: Served) -> None:
    for number in range(20):
        await server.ask("GET", f"/api/no/such/{number}")
        await server.ask("GET", f"/api/runs/run_{number}")
        await server.ask("POST", f"/api/agents/travel/unknown{number}", {})
        await server.ask("GET", f"/api/agents/list?x={number}", key=None)
    for method in ("PROPFIND", "MKCOL", "PURGE"):
        await server.ask(method, "/api/health")
    counted = await numbers(server)
    requests = [name for name in counted if name.startswith("http_requests_total")]
    routes = {name.partition("route=")[2].partition(",")[0] for name in requests}
    assert routes == {"(no route)", "/api/runs/{runId}", "/api/agents/{agent}/{operation}"}
    assert counted["http_requests_total{method=GET,route=(no route),status=404}"] == 20
    assert counted["http_requests_total{method=GET,route=(no route),status=401}"] == 20
    assert {name.partition("method=")[2].partition(",")[0] for name in requests} == {"GET", "POST", "other"}


async def test_what_a_limit_refuses_is_counted_by_the_limit(make_settings: MakeSettings) -> None:
    async with serve(make_settings(rate_limit_whitelist="", rate_limits={"content": "2/minute"})) as server:
        for _ in range(5):
            await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)
        body = (await server.ask("GET", "/api/metrics/json", key="admin")).json
    metric = next(metric for metric in body["metrics"] if metric["name"] == "rate_limit_hits_total")
    assert metric["type"] == "counter"
    assert metric["values"] == [{"labels": {"limit": "content"}, "value": 3}]


async def test_metrics_can_be_read_while_the_database_is_away(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await server.ask("POST", "/api/auth/keys", {"name": "prometheus", "role": "admin"}, key="admin")
    scrape = {"x-api-key": made.json["key"]}
    assert "db_up 1.0" in (await server.ask("GET", "/api/metrics", key=None, headers=scrape)).body.decode()

    async def is_away(_: str) -> None:
        raise Unavailable("The database is away.", code="database_unavailable")

    monkeypatch.setattr(server.runtime.authenticator._store.keys, "by_hash", is_away)
    monkeypatch.setattr(server.runtime.authenticator, "_fresh_s", -1.0)
    for path, status in (("/api/metrics", 200), ("/api/metrics/json", 200), ("/api/agents/list", 503)):
        assert (await server.ask("GET", path, key=None, headers=scrape)).status == status


async def test_who_may_read_and_who_may_reset(server: Served, make_settings: MakeSettings) -> None:
    for path in ("/api/metrics", "/api/metrics/json"):
        assert (await server.ask("GET", path, key=None)).status == 401
        assert (await server.ask("GET", path, key="premium")).status == 403
    assert (await server.ask("POST", "/api/metrics/reset", key="premium")).status == 403
    async with serve(make_settings(metrics_public=True)) as public:
        assert (await public.ask("GET", "/api/metrics", key=None)).status == 200
        assert (await public.ask("GET", "/api/metrics/json", key=None)).json["success"] is True
        assert (await public.ask("POST", "/api/metrics/reset", key=None)).status == 401


async def test_a_reset_begins_counting_anew_and_leaves_what_is(server: Served, models: ModelServer) -> None:
    await server.stream("/api/stream/blog", BLOG)
    models.rule = lambda _: Behaviour(pieces=["word "] * 50, pause_s=0.05)
    async with server.open("/api/stream/blog", BLOG | {"tone": "casual"}) as events:
        await anext(events)
        done = await server.ask("POST", "/api/metrics/reset", key="admin")
        assert (done.status, done.json["reset"]) == (200, True)
        counted = await numbers(server)
    assert counted[f"llm_tokens_used_total{{agent=content,{MODEL},type=output}}"] == 0
    assert counted["http_request_duration_seconds_count{method=POST,route=/api/stream/blog}"] == 0
    assert counted["http_requests_total{method=POST,route=/api/metrics/reset,status=200}"] == 1
    assert counted["stream_sessions_active{agent=content}"] == 1
    log = (await server.ask("GET", "/api/audit", key="admin")).json["entries"]
    assert log[0]["action"] == "metrics.reset"


async def test_openmetrics_is_written_when_it_is_asked_for(server: Served) -> None:
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    reply = await server.ask("GET", "/api/metrics", key="admin", headers=accept)
    assert reply.headers["content-type"].startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")
    plain = await server.ask("GET", "/api/metrics", key="admin")
    assert plain.headers["content-type"].startswith("text/plain; version=")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_the_connections_that_are_shown_are_all_that_a_process_has(server: Served) -> None:
    """The workflow engine's, too: it opens them itself, and beside those of the server."""
    step = {"agent": "content", "method": "generateBlogPost", "params": BLOG}
    assert (await server.ask("POST", "/api/coordinator/sequential", {"steps": [step], "input": {}})).status == 200
    count = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    )

    async def shown_and_counted() -> tuple[float, int]:
        shown = {name: value for name, value in (await numbers(server)).items() if "db_pool_connections" in name}
        assert shown["db_pool_connections{pool=workflows,state=idle}"] >= 1
        async with server.runtime.database.connect() as connection:
            counted = await connection.scalar(count)
        return sum(shown.values()), counted

    async with asyncio.timeout(10):
        while True:
            shown, counted = await shown_and_counted()
            if shown == counted:
                break
            await asyncio.sleep(0.05)  # one was opened, or closed, in between
    assert counted <= POOL_SIZE + POOL_OVERFLOW + CONNECTIONS
