"""Limits over HTTP: the guide's table, what a caller is told, and who is not counted."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from amrikyy.agents.registry import load_registry
from amrikyy.settings import ConfigurationError
from tests.serving import MakeSettings, Reply, Served, serve
from tests.web.test_identity import ADMIN, FIRST_ADMIN

BLOG = {"topic": "AI in Travel", "length": "short"}
FLIGHTS = {"origin": "JFK", "destination": "LAX", "date": "2099-05-01"}


@pytest.fixture
async def server(make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(make_settings(rate_limit_whitelist="", **FIRST_ADMIN)) as served:
        yield served


async def flood(server: Served, count: int, method: str, path: str, body: Any = None, **options: Any) -> list[Reply]:
    return await asyncio.gather(*(server.ask(method, path, body, **options) for _ in range(count)))


def test_the_table_is_the_guides() -> None:
    registry = load_registry()
    declared = {agent.name: str(agent.limit) for agent in registry}
    declared |= {operation.key: str(operation.limit) for operation in registry.operations() if operation.limit}
    assert declared == {
        "travel": "60/minute", "travel.searchFlights": "20/minute", "travel.searchHotels": "20/minute",
        "travel.generateItinerary": "10/minute", "content": "30/minute", "content.generateBlogPost": "5/minute",
        "content.generateSocialPosts": "10/minute", "innovation": "30/minute",
    }  # fmt: skip


async def test_an_operation_passes_exactly_as_often_as_its_limit_says(server: Served) -> None:
    replies = await flood(server, 9, "POST", "/api/agents/content/generateBlogPost", BLOG)
    assert sorted(reply.status for reply in replies) == [200] * 5 + [429] * 4
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.json["code"] == "rate_limited_operation"
    assert "content.generateBlogPost" in refused.json["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert '"content.generateBlogPost";r=0;t=' in refused.headers["ratelimit"]
    policy = '"global";q=100;w=60, "content";q=30;w=60, "content.generateBlogPost";q=5;w=60'
    assert {reply.headers["ratelimit-policy"] for reply in replies} == {policy}
    last = await server.ask("GET", "/api/auth/me")
    assert '"global";r=94;' in last.headers["ratelimit"], "a refused request has consumed nothing"
    assert (await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG, key="other")).status == 200
    stream = await server.ask("POST", "/api/stream/blog", BLOG)
    assert stream.status == 429, "its stream is the same operation"


async def test_the_limit_comes_before_the_body_and_after_the_permission(server: Served) -> None:
    await flood(server, 5, "POST", "/api/stream/blog", BLOG)
    assert (await server.ask("POST", "/api/stream/blog", raw=b"{not json")).status == 429
    assert (await server.ask("POST", "/api/stream/blog", BLOG, key="user")).status == 403
    assert (await server.ask("POST", "/api/stream/blog", BLOG, key=None)).status == 401


async def test_the_global_limit_counts_everything_and_probes_nothing(server: Served) -> None:
    replies = await flood(server, 103, "GET", "/api/agents/list")
    assert sorted(reply.status for reply in replies) == [200] * 100 + [429] * 3
    assert {reply.json["code"] for reply in replies if reply.status == 429} == {"rate_limited_global"}
    assert {reply.status for reply in await flood(server, 110, "GET", "/api/health/live", key=None)} == {200}
    public = await flood(server, 102, "GET", "/api/openapi.json", key=None)
    assert sorted(reply.status for reply in public) == [200] * 100 + [429] * 2, "without a caller, by address"


async def test_what_is_refused_before_its_limits_and_metrics_are_not_counted(server: Served) -> None:
    await flood(server, 100, "GET", "/api/agents/list", key="admin")
    assert (await server.ask("GET", "/api/agents/list", key="admin")).status == 429
    for method, path, status in (
        ("GET", "/api/metrics", 200), ("GET", "/api/metrics/json", 200), ("GET", "/api/health", 200),
        ("GET", "/api/health/ready", 200), ("GET", "/api/status", 200), ("GET", "/api/nowhere", 404),
        ("DELETE", "/api/agents/list", 405),
    ):  # fmt: skip
        reply = await server.ask(method, path, key="admin")
        assert (reply.status, "ratelimit" in reply.headers) == (status, False), path
    await flood(server, 100, "GET", "/api/agents/list", key="user")
    forbidden = await server.ask("GET", "/api/auth/users", key="user")
    assert (forbidden.status, "ratelimit" in forbidden.headers) == (403, False)


async def test_administration_has_a_limit_of_its_own(server: Served) -> None:
    replies = await flood(server, 12, "GET", "/api/auth/users", key="admin")
    assert sorted(reply.status for reply in replies) == [200] * 10 + [429] * 2
    assert next(reply for reply in replies if reply.status == 429).json["code"] == "rate_limited_admin"
    assert (await server.ask("POST", "/api/agents/travel/cache/clear", key="admin")).status == 429
    assert (await server.ask("GET", "/api/agents/list", key="admin")).status == 200


async def test_what_starts_nothing_counts_as_any_request(server: Served) -> None:
    headers = {"idempotency-key": "k"}
    path = "/api/agents/content/generateBlogPost"
    replies = [await server.ask("POST", path, BLOG, headers=headers) for _ in range(7)]
    assert {reply.status for reply in replies} == {200}
    assert len({reply.json["runId"] for reply in replies}) == 1
    assert "content" not in replies[-1].headers["ratelimit"]
    events = await server.stream("/api/stream/blog", BLOG)
    for _ in range(5):
        assert await server.stream("/api/stream/blog", BLOG, last_event_id=events[1].id) == events[2:]
    assert [(await server.ask("POST", path, BLOG)).status for _ in range(4)] == [200, 200, 200, 429]


async def test_a_route_that_resumes_nothing_is_charged_whatever_last_event_id_says(server: Served) -> None:
    path, headers = "/api/agents/content/generateBlogPost", {"last-event-id": "run_0:1"}
    replies = [await server.ask("POST", path, BLOG, headers=headers) for _ in range(6)]
    assert [reply.status for reply in replies] == [200] * 5 + [429]


async def test_whoever_is_on_the_list_is_not_counted(make_settings: MakeSettings) -> None:
    settings = make_settings(rate_limit_whitelist="192.0.2.0/24", trusted_proxies="127.0.0.1")
    async with serve(settings) as server:
        listed = {"x-forwarded-for": "192.0.2.7"}
        replies = await flood(server, 105, "GET", "/api/agents/list", headers=listed)
        assert {reply.status for reply in replies} == {200}
        assert "ratelimit" not in replies[0].headers
        claimed = {"x-forwarded-for": "192.0.2.7, 198.51.100.1"}
        replies = await flood(server, 105, "GET", "/api/agents/list", headers=claimed)
        assert sorted(reply.status for reply in replies) == [200] * 100 + [429] * 5


async def test_limits_can_be_set_and_mistakes_stop_the_start(make_settings: MakeSettings) -> None:
    given = {"content.generateBlogPost": "2/minute", "innovation.generateIdeas": "1/minute", "global": "1000/minute"}
    async with serve(make_settings(rate_limit_whitelist="", rate_limits=given)) as server:
        replies = await flood(server, 4, "POST", "/api/agents/content/generateBlogPost", BLOG)
        assert sorted(reply.status for reply in replies) == [200, 200, 429, 429]
        ideas = await flood(server, 2, "POST", "/api/agents/innovation/generateIdeas", {"niche": "tea houses"})
        assert sorted(reply.status for reply in ideas) == [200, 429]
    for wrong, message in (
        ({"content.blog": "2/minute"}, "there is no limit 'content.blog'"),
        ({"global": "often"}, "RATE_LIMITS: global: 'often' is not a limit"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            async with serve(make_settings(rate_limits=wrong)):
                raise AssertionError("the server started")


async def test_guessing_is_slowed_for_an_account_whether_it_exists_or_not(server: Served) -> None:
    for email in (ADMIN["email"], "nobody@example.com"):
        wrong = {"email": email.upper(), "password": "wrong wrong wrong"}
        replies = [await server.ask("POST", "/api/auth/login", wrong, key=None) for _ in range(11)]
        assert [reply.status for reply in replies] == [401] * 10 + [429]
        assert replies[-1].json["code"] == "rate_limited_login"
        assert int(replies[-1].headers["retry-after"]) > 60
    assert (await server.ask("POST", "/api/auth/login", ADMIN, key=None)).status == 429, "right or not is not told"


async def test_guessing_is_slowed_for_an_address_and_a_right_password_costs_nothing(server: Served) -> None:
    good = [await server.ask("POST", "/api/auth/login", ADMIN, key=None) for _ in range(12)]
    assert {reply.status for reply in good} == {200}
    for number in range(30):
        wrong = {"email": f"user{number}@example.com", "password": "wrong wrong wrong"}
        assert (await server.ask("POST", "/api/auth/login", wrong, key=None)).status == 401
    assert (await server.ask("POST", "/api/auth/login", ADMIN, key=None)).status == 429
    reset = {"token": "rst_guess", "newPassword": "a new long password"}
    assert (await server.ask("POST", "/api/auth/password/reset", reset, key=None)).status == 429
