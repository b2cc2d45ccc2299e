"""Cached answers: what a caller sees of them, and what it may decide about them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from amrikyy.errors import MAX_DETAILS
from tests.model_server import Behaviour, ModelServer
from tests.serving import SSE, MakeSettings, Served, serve
from tests.web.test_models_behind import settings_for

BLOG = {"topic": "AI in Travel", "length": "short"}
HOTELS = {"destination": "Paris", "checkIn": "2099-05-01", "checkOut": "2099-05-03"}
PIECES = ["# A title\n\n", "one ", "two ", "three."]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind is enough: nothing here depends on it."""
    return sqlite_url


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        server.rule = lambda request: Behaviour(pieces=PIECES) if "blog" in str(request.json).lower() else None
        yield server


@pytest.fixture
async def server(models: ModelServer, make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(settings_for("gemini", models, make_settings)) as served:
        yield served


def text_of(events: list[SSE]) -> list[str]:
    return [event.data["chunk"] for event in events if event.event == "token"]


async def test_a_second_request_is_answered_from_the_cache_as_a_stream_and_as_json(
    server: Served, models: ModelServer
) -> None:
    first = await server.stream("/api/stream/blog", BLOG)
    again = await server.stream("/api/stream/blog", BLOG | {"tone": "professional"})
    assert text_of(again) == text_of(first) == PIECES
    assert [event.number for event in again] == list(range(1, len(again) + 1))
    done = again[-1].data
    assert (done["cached"], done["costUsd"], done["totalTokens"]) == (True, 0.0, 0)
    assert (done["result"], done["model"]) == (first[-1].data["result"], first[-1].data["model"])
    assert first[-1].data["cached"] is False
    reply = await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)
    assert (reply.headers["x-cache"], reply.json["cached"], reply.json["costUsd"]) == ("hit", True, 0.0)
    assert len(models.posts) == 1
    runs = (await server.ask("GET", "/api/runs")).json["runs"]
    assert sorted(run["cached"] for run in runs) == [False, True, True]
    for event in range(len(again)):
        rest = await server.stream(f"/api/stream/{again[0].data['runId']}", None, last_event_id=again[event].id) \
            if event < len(again) - 1 else []  # fmt: skip
        assert rest == again[event + 1 :]


async def test_a_result_that_is_no_text_is_replayed_whole(server: Served) -> None:
    reply = await server.ask("POST", "/api/agents/travel/searchHotels", HOTELS)
    assert reply.headers["x-cache"] == "miss"
    events = await server.stream("/api/stream/travel/searchHotels", HOTELS)
    assert [event.event for event in events] == ["connected", "partial", "progress", "complete"]
    assert events[1].data["data"] == {key: value for key, value in reply.json["result"].items() if value is not None}
    assert events[-1].data["result"] == reply.json["result"]


async def test_one_caller_never_gets_what_was_made_for_another_unless_it_is_declared_shared(
    server: Served, models: ModelServer
) -> None:
    for key in ("premium", "other"):
        reply = await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG, key=key)
        assert reply.headers["x-cache"] == "miss"
    assert len(models.posts) == 2
    states = [
        (await server.ask("POST", "/api/agents/travel/searchHotels", HOTELS, key=key)).headers["x-cache"]
        for key in ("premium", "other")
    ]
    assert states == ["miss", "hit"]


async def test_the_caller_may_decide_not_to_use_or_to_leave_anything(server: Served, models: ModelServer) -> None:
    async def ask(**headers: str) -> str:
        reply = await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG, headers=headers)
        return reply.headers["x-cache"]

    assert await ask(**{"cache-control": "no-store"}) == "bypass"
    assert await ask() == "miss"
    assert await ask(**{"cache-control": "max-age=0, no-cache"}) == "bypass"
    assert await ask() == "hit"
    assert len(models.posts) == 3


async def test_failures_are_not_kept_and_an_older_result_serves_while_the_model_is_down(
    server: Served, models: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/api/agents/content/generateBlogPost"
    models.script.append(Behaviour(status=400))
    assert (await server.ask("POST", path, BLOG)).status == 502
    fresh = await server.ask("POST", path, BLOG)
    assert fresh.headers["x-cache"] == "miss"
    monkeypatch.setattr("amrikyy.cache.entry.Entry.is_fresh", False)
    models.rule = lambda _: Behaviour(status=503)
    stale = await server.ask("POST", path, BLOG)
    assert (stale.status, stale.headers["x-cache"], stale.json["cached"]) == (200, "stale", True)
    assert stale.json["result"] == fresh.json["result"]
    events = await server.stream("/api/stream/blog", BLOG)
    assert ("".join(text_of(events)), events[-1].event) == ("".join(PIECES), "complete")
    models.rule = lambda _: Behaviour(pieces=["# New\n\n", "text"])
    assert (await server.ask("POST", path, BLOG)).json["result"]["title"] == "New"


async def test_a_stream_that_broke_after_its_first_token_is_not_mended_with_old_text(
    server: Served, models: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.stream("/api/stream/blog", BLOG)
    monkeypatch.setattr("amrikyy.cache.entry.Entry.is_fresh", False)
    models.rule = lambda _: Behaviour(pieces=PIECES[:2], reset=True)
    events = await server.stream("/api/stream/blog", BLOG)
    assert events[-1].event == "error"


async def test_clearing_needs_its_permission_and_says_how_many(server: Served) -> None:
    path = "/api/agents/content/cache/clear"
    assert (await server.ask("POST", path)).status == 403
    await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)
    nothing = await server.ask("POST", path, {"pattern": "travel:*"}, key="admin")
    assert (nothing.status, nothing.json["cleared"]) == (200, 0)
    done = await server.ask("POST", path, key="admin")
    assert (done.status, done.json["agent"], done.json["cleared"]) == (200, "content", 1)
    again = await server.ask("POST", "/api/agents/content/generateBlogPost", BLOG)
    assert again.headers["x-cache"] == "miss"
    assert (await server.ask("POST", "/api/agents/nobody/cache/clear", key="admin")).status == 404


async def test_a_refusal_to_warm_names_a_bounded_number_of_wrong_fields(server: Served) -> None:
    unknown = {f"field{number}": 1 for number in range(90)}
    wrong = {"queries": [{"operation": "searchHotels", "request": unknown}] * 50}
    refused = await server.ask("POST", "/api/agents/travel/cache/warm", wrong, key="admin")
    assert (refused.status, len(refused.json["details"])) == (400, MAX_DETAILS)


async def test_warming_runs_all_or_refuses_all(server: Served, models: ModelServer) -> None:
    path = "/api/agents/travel/cache/warm"
    wrong: dict[str, Any] = {"queries": [
        {"operation": "searchHotels", "request": HOTELS}, "hotels in Paris",
        {"operation": "searchHotels", "request": HOTELS | {"rooms": 9, "pool": True}},
        {"operation": "fly", "request": {}},
    ]}  # fmt: skip
    refused = await server.ask("POST", path, wrong, key="admin")
    assert refused.status == 400
    assert [detail["field"] for detail in refused.json["details"]] == [
        "queries.2.request.rooms", "queries.2.request.pool", "queries.3.operation",
    ]  # fmt: skip
    assert models.posts == []
    good = {"queries": [{"operation": "searchHotels", "request": HOTELS | {"guests": guests}} for guests in (1, 2, 3)]}
    done = await server.ask("POST", path, good, key="admin")
    assert (done.status, done.json["warmed"], done.json["failed"]) == (200, 3, [])
    reply = await server.ask("POST", "/api/agents/travel/searchHotels", HOTELS, key="user")
    assert reply.headers["x-cache"] == "hit"
    models.rule = lambda _: Behaviour(status=500)
    failing = {"queries": [{"operation": "searchHotels", "request": HOTELS | {"guests": 4}}]}
    failed = await server.ask("POST", path, failing, key="admin")
    assert (failed.json["warmed"], failed.json["failed"][0]["code"]) == (0, "model_overloaded")
