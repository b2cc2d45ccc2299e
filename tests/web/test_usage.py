"""Usage: every dollar once, for whom it was, and nobody else's business."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select

from amrikyy.db.tables import run_hours, spend, spend_days, spend_summed
from amrikyy.runtime import chores
from tests.model_server import Behaviour, ModelServer
from tests.serving import MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for

BLOG = {"topic": "AI in Travel", "length": "short"}
PRICES = {"gemini-2.0-flash-exp": {"input": 1000, "output": 2000}, "gemini-2.5-pro": {"input": 3000, "output": 9000}}
PATH = "/api/agents/content/generateBlogPost"


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        server.rule = lambda request: (
            Behaviour(pieces=["# A title\n\n", *["word "] * 20]) if "blog" in str(request.json).lower() else None
        )
        yield server


@pytest.fixture
async def server(models: ModelServer, make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(settings_for("gemini", models, make_settings, model_prices=PRICES)) as served:
        yield served


async def usage(server: Served, query: str = "", key: str = "premium") -> Any:
    reply = await server.ask("GET", f"/api/usage{query}", key=key)
    assert reply.status == 200, reply.body
    return reply.json


async def test_the_sum_is_what_the_answers_said(server: Served) -> None:
    replies = [await server.ask("POST", PATH, BLOG | {"topic": f"Part {number}"}) for number in range(3)]
    replies.append(await server.ask("POST", PATH, BLOG | {"topic": "Part 0"}))  # from the cache
    other = await server.ask("POST", PATH, BLOG, key="other")
    used = await usage(server)
    assert used["total"]["costUsd"] == pytest.approx(sum(reply.json["costUsd"] for reply in replies))
    assert used["total"]["costUsd"] > 0.01
    tokens = sum(reply.json["usage"]["totalTokens"] for reply in replies)
    assert (used["total"]["usage"]["totalTokens"], used["total"]["runs"], used["total"]["unpriced"]) == (tokens, 3, 0)
    assert [set(group["group"]) for group in used["groups"]] == [{"day"}]
    everybody = await usage(server, "?caller=all&groupBy=caller", key="admin")
    assert len(everybody["groups"]) == 2
    assert everybody["total"]["costUsd"] == pytest.approx(used["total"]["costUsd"] + other.json["costUsd"])


async def test_the_parts_of_a_run_are_counted_once(server: Served) -> None:
    body = {"origin": "JFK", "destination": "LIS", "date": "2099-05-01", "duration": 2, "budget": 3000}
    reply = await server.ask("POST", "/api/agents/travel/createCompletePackage", body)
    groups = (await usage(server, "?groupBy=agent,operation,model"))["groups"]
    assert len(groups) >= 1
    total = (await usage(server))["total"]
    if reply.status == 200:
        assert total["costUsd"] == pytest.approx(reply.json["costUsd"])
    runs = (await server.ask("GET", "/api/runs?operation=createCompletePackage")).json["runs"]
    assert total["costUsd"] == pytest.approx(runs[0]["costUsd"])
    assert total["usage"]["totalTokens"] == runs[0]["usage"]["totalTokens"]


async def test_whoever_left_a_shared_execution_pays_for_all_of_it_once(server: Served, models: ModelServer) -> None:
    models.rule = lambda _: Behaviour(pieces=["# A title\n\n", *["word "] * 60], pause_s=0.04)
    async with server.open("/api/stream/blog", BLOG) as starter:
        first = (await anext(starter)).data["runId"]
        staying = asyncio.create_task(server.stream("/api/stream/blog", BLOG))
        await anext(starter)
        while len(list(server.runtime.live.running())) < 2:
            await asyncio.sleep(0.01)
        assert (await server.ask("DELETE", f"/api/stream/{first}")).status == 200
        await usage(server)
    assert (await staying)[-1].event == "complete"
    run = (await server.ask("GET", f"/api/runs/{first}")).json["run"]
    used = await usage(server)
    assert used["total"]["runs"] == 1
    assert used["total"]["costUsd"] == pytest.approx(run["costUsd"])
    async with server.runtime.database.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(spend)) == 1
        assert await connection.scalar(select(func.sum(run_hours.c.runs))) == 2
        assert await connection.scalar(select(func.sum(run_hours.c.cancelled))) == 1


async def test_an_unknown_price_is_said_and_not_taken_for_nothing(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    settings = make_settings(models="openai:home-made", openai_api_key="x", openai_base_url=models.openai_url)
    async with serve(settings) as server:
        reply = await server.ask("POST", PATH, BLOG)
        assert reply.json["costUsd"] is None
        total = (await usage(server))["total"]
    assert (total["costUsd"], total["unpriced"], total["runs"]) == (0, 1, 1)


async def test_filters_groups_and_spreadsheets(server: Served) -> None:
    await server.ask("POST", PATH, BLOG)
    await server.ask("POST", "/api/agents/innovation/validateIdea", {"idea": "An app that plans rainy days."})
    by_model = await usage(server, "?groupBy=model,agent")
    assert [group["group"] for group in by_model["groups"]] == [
        {"model": "gemini-2.0-flash-exp", "agent": "content"}, {"model": "gemini-2.5-pro", "agent": "innovation"},
    ]  # fmt: skip
    only = await usage(server, "?agent=content&groupBy=operation")
    assert [group["group"]["operation"] for group in only["groups"]] == ["generateBlogPost"]
    assert (await usage(server, "?until=2001-01-01"))["groups"] == []
    assert (await usage(server, "?since=2001-01-01"))["total"]["runs"] == 2
    reply = await server.ask("GET", "/api/usage?groupBy=agent,model&format=csv")
    assert reply.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(reply.body.decode())))
    assert rows[0] == ["agent", "model", "runs", "promptTokens", "completionTokens", "costUsd", "unpriced"]
    assert [row[:3] for row in rows[1:]] == [
        ["content", "gemini-2.0-flash-exp", "1"], ["innovation", "gemini-2.5-pro", "1"],
    ]  # fmt: skip
    for wrong in ("?groupBy=owner", "?since=yesterday", "?format=xml"):
        assert (await server.ask("GET", f"/api/usage{wrong}")).status == 400


async def test_the_server_adds_the_ledger_up_by_itself(
    models: ModelServer, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores, "SUM_UP_EVERY_S", 0.05)
    async with serve(settings_for("gemini", models, make_settings, model_prices=PRICES)) as server:
        reply = await server.ask("POST", PATH, BLOG)
        assert (await usage(server))["total"]["costUsd"] == reply.json["costUsd"]
        async with asyncio.timeout(20), server.runtime.database.connect() as connection:
            while not await connection.scalar(select(spend_summed.c.through)):
                await connection.rollback()
                await asyncio.sleep(0.02)
            assert await connection.scalar(select(func.count()).select_from(spend_days)) == 2
        again = await server.ask("POST", PATH, BLOG | {"topic": "Night trains"})
        total = (await usage(server))["total"]
        assert (total["runs"], total["costUsd"]) == (2, pytest.approx(reply.json["costUsd"] + again.json["costUsd"]))


async def test_nobody_sees_what_others_use(server: Served) -> None:
    other = (await server.ask("GET", "/api/auth/me", key="other")).json["id"]
    for caller in (other, "all"):
        refused = await server.ask("GET", f"/api/usage?caller={caller}")
        assert (refused.status, refused.json["details"][0]["permission"]) == (403, "agent:stats")
    assert (await server.ask("GET", f"/api/usage?caller={other}", key="admin")).status == 200
