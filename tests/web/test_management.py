"""How agents do: over HTTP, over processes, over restarts."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from amrikyy.agents.tally import WINDOW_S, Tally
from amrikyy.runs.statistics import Statistics
from tests.model_server import Behaviour, ModelServer
from tests.serving import MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for

BLOG = {"topic": "AI in Travel", "length": "short"}
PATH = "/api/agents/content/generateBlogPost"
PRICES = {"gemini-2.0-flash-exp": {"input": 1000, "output": 2000}}


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        server.rule = lambda _: Behaviour(pieces=["# A title\n\n", *["word "] * 20])
        yield server


@pytest.fixture
async def server(models: ModelServer, make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(settings_for("gemini", models, make_settings, model_prices=PRICES)) as served:
        yield served


async def get(server: Served, path: str, status: int = 200, key: str = "admin") -> Any:
    reply = await server.ask("GET", f"/api/agents/{path}", key=key)
    assert reply.status == status, reply.body
    return reply.json


async def test_the_numbers_are_those_of_what_was_done_and_survive_a_restart(
    server: Served, models: ModelServer, make_settings: MakeSettings
) -> None:
    replies = [await server.ask("POST", PATH, BLOG | {"topic": f"Part {number}"}) for number in range(3)]
    await server.ask("POST", PATH, BLOG | {"topic": "Part 0"})
    await server.stream("/api/stream/blog", BLOG)
    models.script.append(Behaviour(status=500))
    await server.ask("POST", PATH, BLOG | {"topic": "Broken"})
    metrics = (await get(server, "content/metrics"))["metrics"]
    assert (metrics["errors"]["total"], metrics["errors"]["cancelled"]) == (1, 0)
    assert metrics["errors"]["rate"] == pytest.approx(100 / 6, abs=0.01)
    assert (metrics["cache"]["hits"], metrics["streaming"]["total"]) == (1, 1)
    assert metrics["performance"]["totalCalls"] == 6
    assert 0 < metrics["performance"]["p50Ms"] <= metrics["performance"]["p95Ms"] <= metrics["performance"]["p99Ms"]
    used = sum(reply.json["costUsd"] for reply in replies)
    assert metrics["costs"]["costUsd"] > used > 0
    async with serve(settings_for("gemini", models, make_settings)) as again:
        later = (await get(again, "content/metrics"))["metrics"]
        assert (later["costs"], later["performance"]) == (metrics["costs"], metrics["performance"])
        await again.ask("POST", PATH, BLOG)
        await again.runtime.records.flush()
        assert (await get(server, "content/metrics"))["metrics"]["performance"]["totalCalls"] == 7, "replicas add up"


async def test_overview_and_status_have_the_shapes_of_the_product_page(server: Served) -> None:
    overview = (await get(server, "overview", key="user"))["overview"]
    assert [agent["name"] for agent in overview] == ["travel", "content", "innovation"]
    assert set(overview[0]) == {"name", "stats", "uptime"}
    assert set(overview[0]["stats"]) == {"errors", "cache", "tracing", "streaming"}
    status = (await get(server, "travel/status", key="user"))["status"]
    assert set(status) == {"agent", "registeredAt", "uptime", "metadata", "capabilities", "statistics"}
    for path in ("nobody/status", "nobody/health", "nobody/metrics"):
        assert (await get(server, path, 404))["code"] == "agent_not_found"


async def test_metrics_need_their_permission_and_a_reset_another(server: Served) -> None:
    assert (await server.ask("GET", "/api/agents/travel/metrics", key="premium")).status == 403
    assert (await server.ask("POST", "/api/agents/travel/stats/reset", key="premium")).status == 403
    await server.ask("POST", PATH, BLOG)
    done = await server.ask("POST", "/api/agents/content/stats/reset", key="admin")
    assert (done.status, done.json["reset"]) == (200, True)
    assert (await get(server, "content/metrics"))["metrics"]["performance"] == {
        "totalCalls": 0, "averageMs": None, "p50Ms": None, "p95Ms": None, "p99Ms": None,
    }  # fmt: skip
    assert (await server.ask("GET", "/api/usage")).json["total"]["runs"] == 1, "the ledger is unchanged"
    assert (await server.ask("GET", "/api/audit", key="admin")).json["entries"][0]["action"] == "stats.reset"


async def test_health_follows_the_errors_and_the_breakers(server: Served, models: ModelServer) -> None:
    health = (await get(server, "content/health"))["health"]
    assert (health["status"], health["checks"]["errorHandler"]["circuitBreaker"]) == ("healthy", "closed")
    assert set(health["checks"]) == {"errorHandler", "cache", "tracing", "streaming"}
    models.rule = lambda _: Behaviour(status=500)
    for number in range(6):
        await server.ask("POST", PATH, BLOG | {"topic": f"Broken {number}"})
    failing = await get(server, "content/health", 503)
    assert failing["success"] is False
    assert failing["health"]["status"] == "unhealthy"
    assert failing["health"]["checks"]["errorHandler"] == {
        "status": "unhealthy", "circuitBreaker": "open", "successRate": 0.0,
    }  # fmt: skip


def test_only_the_last_minutes_count_and_few_runs_are_not_judged() -> None:
    now = 1000.0
    tally = Tally(clock=lambda: now)
    for _ in range(4):
        tally.count(failed=True)
    assert (tally.error_rate, tally.health) == (100, "healthy")
    tally.count(failed=True)
    assert tally.health == "unhealthy"
    for _ in range(15):
        tally.count(failed=False)
    assert (tally.error_rate, tally.health) == (25, "degraded")
    now += WINDOW_S + 10
    assert (tally.recent, tally.health, tally.calls) == ((0, 0), "healthy", 20)


def test_percentiles_are_read_off_the_buckets() -> None:
    statistics = Statistics(runs=10, latencies=(0, 0, 0, 5, 5, 0, 0, 0, 0, 0, 0))
    assert statistics.percentile_ms(0.5) == 1000
    assert statistics.percentile_ms(0.25) == 750
    assert statistics.percentile_ms(0.99) == pytest.approx(1980)
    assert Statistics(runs=1, latencies=(*[0] * 10, 1)).percentile_ms(0.5) == 60_000
    assert Statistics().percentile_ms(0.5) is None


def test_a_percentile_is_none_that_the_mean_rules_out() -> None:
    quick = Statistics(runs=100, latencies=(100, *[0] * 10), duration_ms=120)
    assert [quick.percentile_ms(share) for share in (0.5, 0.95, 0.99)] == [2.4, 24.0, 99.0]
