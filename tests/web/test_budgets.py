"""Budgets over HTTP: who sets them, what is refused, and streams that reach their end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.model_server import Behaviour, ModelServer
from tests.process import server_process
from tests.serving import KEYS, MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for

BLOG = {"topic": "AI in Travel", "length": "short"}
PATH = "/api/agents/content/generateBlogPost"
PRICES = {"gemini-2.0-flash-exp": {"input": 0, "output": 1000}}
"""A tenth of a cent a token of output, so that costs are easy to see."""


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        server.rule = lambda _: Behaviour(pieces=["# A title\n\n", *["word "] * 98])
        yield server


@pytest.fixture
async def server(models: ModelServer, make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(settings_for("gemini", models, make_settings, model_prices=PRICES)) as served:
        yield served


async def put(server: Served, subject: str, limit_usd: float, period: str = "day", status: int = 200) -> Any:
    body = {"subject": subject, "period": period, "limitUsd": limit_usd}
    reply = await server.ask("POST", "/api/budgets", body, key="admin")
    assert reply.status == status, reply.body
    return reply.json


async def test_budgets_are_set_listed_changed_and_removed_and_each_act_is_audited(server: Served) -> None:
    me = (await server.ask("POST", PATH, BLOG)).json
    run = server.runtime.live.get(me["runId"])
    assert run is not None
    owner = run.owner
    made = await put(server, owner, 50, "month")
    assert made["budget"]["leftUsd"] == pytest.approx(50 - me["costUsd"])
    await put(server, owner, 60, "month")
    await put(server, "role:premium", 10)
    listed = (await server.ask("GET", "/api/budgets?limit=1", key="admin")).json
    assert [(each["subject"], each["limitUsd"]) for each in listed["budgets"]] == [(owner, 60)]
    rest = (await server.ask("GET", f"/api/budgets?cursor={listed['nextCursor']}", key="admin")).json
    assert ([each["subject"] for each in rest["budgets"]], rest["nextCursor"]) == (["role:premium"], None)
    mine = (await server.ask("GET", "/api/budgets/mine")).json["budgets"]
    assert {each["subject"] for each in mine} == {owner, "role:premium"}
    assert (await server.ask("DELETE", f"/api/budgets/{owner}/month", key="admin")).status == 200
    again = await server.ask("DELETE", f"/api/budgets/{owner}/month", key="admin")
    assert (again.status, again.json["code"]) == (404, "budget_not_found")
    audit = (await server.ask("GET", f"/api/audit?target={owner}", key="admin")).json["entries"]
    assert [(entry["action"], entry["details"]) for entry in audit] == [
        ("budget.remove", {"period": "month"}),
        ("budget.set", {"period": "month", "limitUsd": 60}),
        ("budget.set", {"period": "month", "limitUsd": 50}),
    ]


async def test_only_managers_set_budgets_and_only_for_whom_there_is(server: Served) -> None:
    body = {"subject": "role:user", "period": "day", "limitUsd": 1}
    assert (await server.ask("POST", "/api/budgets", body)).status == 403
    assert (await server.ask("GET", "/api/budgets")).status == 403
    assert (await server.ask("DELETE", "/api/budgets/role:user/day")).status == 403
    nobody = await put(server, "role:nobody", 1, status=400)
    assert "for example role:premium or user:ana@example.com" in nobody["details"][0]["message"]
    await put(server, "role:user", -1, status=400)
    await put(server, "key:" + "0" * 32, 1, status=404)
    await put(server, "user:" + "0" * 32, 1, status=404)


async def test_a_model_of_unknown_price_allows_no_budget(models: ModelServer, make_settings: MakeSettings) -> None:
    async with serve(settings_for("openai", models, make_settings)) as server:
        refused = await put(server, "role:user", 1, status=400)
        assert refused["code"] == "price_unknown"


async def test_a_budget_that_cannot_be_kept_any_more_is_a_400_and_no_stream(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    async with serve(settings_for("gemini", models, make_settings, model_prices=PRICES)) as server:
        await put(server, "role:premium", 20)
    async with serve(settings_for("openai", models, make_settings)) as server:
        for path in ("/api/stream/blog", PATH):
            reply = await server.ask("POST", path, BLOG)
            assert (reply.status, reply.json["code"]) == (400, "price_unknown"), path
    assert models.posts == []


async def test_who_has_spent_its_budget_gets_a_402_that_says_so_and_is_charged_no_limit(
    models: ModelServer, make_settings: MakeSettings
) -> None:
    settings = settings_for("gemini", models, make_settings, model_prices=PRICES, rate_limit_whitelist="")
    async with serve(settings) as server:
        await put(server, "role:premium", 20)
        assert (await server.ask("POST", PATH, BLOG)).status == 200
        await put(server, "role:premium", 0.001)
        asked = len(models.posts)
        before = await server.ask("GET", "/api/agents/list")
        refused = await server.ask("POST", PATH, BLOG | {"topic": "Another"}, raw=None)
        after = await server.ask("GET", "/api/agents/list")
        assert (refused.status, refused.json["code"]) == (402, "budget_spent")
        detail = refused.json["details"][0]
        assert (detail["subject"], detail["leftUsd"]) == ("role:premium", 0)
        assert int(refused.headers["retry-after"]) <= 86_400
        for path in ("/api/stream/blog", "/api/agents/content/ask", "/api/coordinator/parallel", "/api/coordinator"):
            assert (await server.ask("POST", path, {"nonsense": 1})).status == 402, "before the body"
        assert len(models.posts) == asked
        remaining = [int(each.headers["ratelimit"].split("r=")[1].split(";")[0]) for each in (before, after)]
        assert remaining[0] - remaining[1] == 1
        for path, status in (("/api/agents/content/ask", 402), ("/api/coordinator/parallel", 400)):
            keyed = {"idempotency-key": "k"}
            assert (await server.ask("POST", path, {"nonsense": 1}, headers=keyed)).status == status
        metrics = (await server.ask("GET", "/api/metrics", key="admin")).body.decode()
        assert 'budget_refusals_total{period="day",subject="role"} 6.0' in metrics


async def test_a_stream_that_is_not_covered_is_a_402_and_no_stream(server: Served, models: ModelServer) -> None:
    await put(server, "role:premium", 0.5)
    reply = await server.ask("POST", "/api/stream/blog", BLOG)
    assert (reply.status, reply.json["code"]) == (402, "budget_spent")
    assert models.posts == []


async def test_a_stream_that_reaches_the_end_of_the_budget_stops_and_is_billed(
    server: Served, models: ModelServer
) -> None:
    # The model ignores its output limit, and writes on, a thousand tokens a second: what the database may take to cover
    # the next ones (`cover.AHEAD`) is half a second then. Five times as fast, a busy disk was too slow.
    models.rule = lambda _: Behaviour(pieces=["word " * 7600, *["word " * 20] * 2000], pause_s=0.025)
    await put(server, "role:premium", 12)
    events = await server.stream("/api/stream/blog", BLOG)
    assert events[-1].event == "error"
    assert (events[-1].data["code"], events[-1].data["details"][0]["limitUsd"]) == ("budget_spent", 12)
    assert any(event.event == "token" for event in events)
    await asyncio.wait_for(models.posts[0].closed.wait(), 5)
    (budget,) = (await server.ask("GET", "/api/budgets/mine")).json["budgets"]
    assert 10 < budget["spentUsd"] <= 12
    assert budget["reservedUsd"] == 0
    used = (await server.ask("GET", "/api/usage", key="premium")).json["total"]
    assert used["costUsd"] == pytest.approx(budget["spentUsd"])


async def test_the_same_key_may_try_again_when_the_budget_allows_it(server: Served) -> None:
    await put(server, "role:premium", 0.5)
    once = {"idempotency-key": "a-key"}
    assert (await server.ask("POST", PATH, BLOG, headers=once)).status == 402
    await put(server, "role:premium", 50)
    assert (await server.ask("POST", PATH, BLOG, headers=once)).status == 200


async def test_who_joins_the_run_of_another_or_hits_the_cache_spends_nothing(server: Served) -> None:
    await put(server, "role:premium", 20)
    replies = await asyncio.gather(*(server.ask("POST", PATH, BLOG) for _ in range(20)))
    assert {reply.status for reply in replies} == {200}
    (budget,) = (await server.ask("GET", "/api/budgets/mine")).json["budgets"]
    assert budget["spentUsd"] == pytest.approx(max(reply.json["costUsd"] for reply in replies))


@pytest.mark.parametrize("processes", [1, 3])
async def test_fifty_calls_at_a_time_against_a_budget_for_ten_spend_no_more_than_ten(
    processes: int, models: ModelServer, database_url: str, server: Served, tmp_path: Path
) -> None:
    pieces = ["word "] * 9000  # 9 dollars, nearly all that the call is allowed to write
    models.rule = lambda _: Behaviour(pieces=pieces, before_s=0.3)
    await put(server, "role:premium", 95)
    environment = {
        "DATABASE_URL": database_url, "MODELS": "gemini:gemini-2.0-flash-exp", "GEMINI_API_KEY": "k" * 39,
        "GEMINI_BASE_URL": models.url, "JWT_SECRET": "j" * 40,
        "MODEL_PRICES": '{"gemini-2.0-flash-exp": {"input": 0, "output": 1000}}',
    }  # fmt: skip
    headers = {"x-api-key": KEYS["premium"]}
    async with AsyncExitStack() as stack:
        urls = []
        for number in range(processes):
            (folder := tmp_path / str(number)).mkdir()
            urls.append((await stack.enter_async_context(server_process(folder, **environment)))[1])

        async def call(number: int) -> int:
            url, body = urls[number % processes] + PATH, BLOG | {"topic": f"Part {number}"}
            async with server.http.post(url, json=body, headers=headers) as reply:
                assert reply.status in (200, 402), await reply.text()
                return reply.status

        statuses = Counter(await asyncio.gather(*(call(number) for number in range(50))))
        assert set(statuses) == {200, 402}
        assert 8 <= statuses[200] <= 10, "each holds what it may cost at most until it has ended"
        for number in range(50, 60):
            statuses[await call(number)] += 1
        assert statuses[200] == len(models.posts) == 10
        (budget,) = (await server.ask("GET", "/api/budgets/mine")).json["budgets"]
        assert (budget["spentUsd"], budget["reservedUsd"]) == (pytest.approx(90), 0)
        for url in urls:  # each writes down what it knows before it answers
            async with server.http.get(f"{url}/api/usage", headers=headers) as reply:
                usage = await reply.json()
        assert usage["total"]["costUsd"] == pytest.approx(90)
