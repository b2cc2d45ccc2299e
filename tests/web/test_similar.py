"""Requests that say the same in other words, as their callers see them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from amrikyy.settings import ConfigurationError
from tests.model_server import Behaviour, ModelServer
from tests.serving import MakeSettings, Reply, Served, serve
from tests.web.test_models_behind import settings_for

POST = "/api/agents/content/generateBlogPost"
BLOG = {"topic": "Night trains in Europe", "length": "short"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind is enough: nothing here depends on it."""
    return sqlite_url


@pytest.fixture
async def models() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        server.rule = lambda _: Behaviour(pieces=["# A title\n\n", "one ", "two ", "three."])
        yield server


@pytest.fixture
async def server(models: ModelServer, make_settings: MakeSettings) -> AsyncIterator[Served]:
    async with serve(settings_for("gemini", models, make_settings, cache_similarity=0.8)) as served:
        yield served


def seen(reply: Reply) -> tuple[str, bool]:
    assert reply.status == 200, reply.json
    return reply.headers["x-cache"], reply.json["cached"]


async def test_other_words_get_the_same_result(server: Served, models: ModelServer) -> None:
    assert seen(await server.ask("POST", POST, BLOG)) == ("miss", False)
    alike = await server.ask("POST", POST, BLOG | {"topic": "night trains, in EUROPE!"})
    assert seen(alike) == ("similar", True)
    assert alike.json["costUsd"] == 0.0
    events = await server.stream("/api/stream/blog", BLOG | {"topic": "in Europe: night trains"})
    assert events[-1].data["cached"] is True
    assert len(models.posts) == 1
    metrics = (await server.ask("GET", "/api/metrics", key="admin")).body.decode()
    assert 'cache_operations_total{agent="content",result="similar"} 2.0' in metrics
    assert 'cache_hit_rate{agent="content"} 0.6' in metrics


@pytest.mark.parametrize(
    "change",
    [
        {"topic": "Night trains in Asia and further"},
        {"topic": "Night trains in Europe", "length": "long"},
        {"topic": "Night trains in Europe 2027"},
        {"topic": "Night trains in Europe", "tone": "humorous"},
        {"topic": "Night trains in Europe", "keywords": ["sleeper"]},
    ],
)
async def test_what_means_something_else_does_not(server: Served, models: ModelServer, change: dict[str, Any]) -> None:
    await server.ask("POST", POST, BLOG)
    assert seen(await server.ask("POST", POST, BLOG | change)) == ("miss", False)
    assert len(models.posts) == 2


async def test_another_caller_gets_nothing_of_it(server: Served, models: ModelServer) -> None:
    await server.ask("POST", POST, BLOG)
    other = await server.ask("POST", POST, BLOG | {"topic": "Night trains in europe!"}, key="other")
    assert seen(other) == ("miss", False)
    assert len(models.posts) == 2


async def test_whoever_wants_no_cache_gets_none_and_what_was_cleared_is_gone(server: Served) -> None:
    await server.ask("POST", POST, BLOG)
    alike = BLOG | {"topic": "night trains in europe."}
    fresh = await server.ask("POST", POST, alike, headers={"cache-control": "no-store"})
    assert seen(fresh) == ("bypass", False)
    assert seen(await server.ask("POST", POST, alike)) == ("similar", True)
    cleared = await server.ask("POST", "/api/agents/content/cache/clear", {}, key="admin")
    assert cleared.status == 200
    assert seen(await server.ask("POST", POST, alike)) == ("miss", False)


async def test_it_is_off_unless_it_is_asked_for(models: ModelServer, make_settings: MakeSettings) -> None:
    async with serve(settings_for("gemini", models, make_settings)) as server:
        await server.ask("POST", POST, BLOG)
        assert seen(await server.ask("POST", POST, BLOG | {"topic": "night trains in europe"})) == ("miss", False)


Vectors = Callable[[str], list[float] | None]


@asynccontextmanager
async def embeddings(provider: str, vector_of: Vectors) -> AsyncIterator[tuple[str, list[Any]]]:
    """A server that speaks the provider's protocol; the requests that it gets are in the list."""
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append((request.path, dict(request.headers), body))
        text = body["input"] if provider == "openai" else body["content"]["parts"][0]["text"]
        vector = vector_of(text)
        if vector is None:
            return web.json_response({"error": {"message": "no"}}, status=500)
        if provider == "openai":
            return web.json_response({"data": [{"embedding": vector}], "usage": {"prompt_tokens": 7}})
        return web.json_response({"embedding": {"values": vector}})

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


def about_trains(text: str) -> list[float]:
    return [1.0, 0.05] if any(word in text.lower() for word in ("train", "rail")) else [0.0, 1.0]


async def test_with_embeddings_the_meaning_counts(models: ModelServer, make_settings: MakeSettings) -> None:
    async with embeddings("openai", about_trains) as (url, asked):
        options = {"cache_similarity": 0.95, "embeddings_model": "openai:small", "openai_base_url": f"{url}/v1",
                   "openai_api_key": "k" * 20, "model_prices": {"small": {"input": 1.0, "output": 0.0}}}  # fmt: skip
        async with serve(settings_for("gemini", models, make_settings, **options)) as server:
            first = await server.ask("POST", POST, BLOG)
            assert seen(first) == ("miss", False)
            assert first.json["costUsd"] >= 7e-6, "what comparing took is paid by who needed the model"
            assert seen(await server.ask("POST", POST, BLOG | {"topic": "Sleeping on rails"})) == ("similar", True)
            assert seen(await server.ask("POST", POST, BLOG | {"topic": "Gardens of Japan"})) == ("miss", False)
            assert asked[0][0] == "/v1/embeddings"
            assert asked[0][1]["Authorization"] == "Bearer " + "k" * 20
            assert asked[0][2] == {"model": "small", "input": "topic: Night trains in Europe"}
            metrics = (await server.ask("GET", "/api/metrics", key="admin")).body.decode()
            assert 'llm_tokens_used_total{agent="content",model="small",type="input"} 21.0' in metrics


async def test_gemini_embeds_too(models: ModelServer, make_settings: MakeSettings) -> None:
    async with embeddings("gemini", about_trains) as (url, asked):
        models_url = models.url
        settings = settings_for(
            "gemini", models, make_settings, cache_similarity=0.95, embeddings_model="gemini:gemini-embedding-001"
        )
        assert settings.gemini_base_url == models_url
        settings = settings.model_copy(update={"gemini_base_url": url})
        async with serve(settings.model_copy(update={"models": "offline"})) as server:
            assert seen(await server.ask("POST", POST, BLOG)) == ("miss", False)
            assert seen(await server.ask("POST", POST, BLOG | {"topic": "Sleeping on rails"})) == ("similar", True)
        assert asked[0][0] == "/v1beta/models/gemini-embedding-001:embedContent"


@pytest.mark.parametrize("vector_of", [lambda _: None, lambda _: []], ids=["500", "no vector"])
async def test_embeddings_that_fail_cost_nobody_an_answer(
    models: ModelServer, make_settings: MakeSettings, vector_of: Vectors
) -> None:
    async with embeddings("openai", vector_of) as (url, _):
        options = {"cache_similarity": 0.9, "embeddings_model": "openai:small", "openai_base_url": url,
                   "openai_api_key": "k" * 20}  # fmt: skip
        async with serve(settings_for("gemini", models, make_settings, **options)) as server:
            for topic in ("Night trains", "Sleeping on rails"):
                assert seen(await server.ask("POST", POST, BLOG | {"topic": topic})) == ("miss", False)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"embeddings_model": "openai:small"}, "CACHE_SIMILARITY"),
        ({"cache_similarity": 0.9, "embeddings_model": "small"}, "provider:model"),
        ({"cache_similarity": 0.9, "embeddings_model": "offline:x"}, "provider:model"),
    ],
)
async def test_settings_that_mean_nothing_stop_the_start(
    make_settings: MakeSettings, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        async with serve(make_settings(**wrong)):
            pass
