"""Which models a configuration means, and how they share what they share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from amrikyy.errors import ModelOverloaded, ModelTimeout
from amrikyy.llm import Deadlines, Models, ModelsConfig, Retry, Usage, open_models
from amrikyy.llm.chain import ModelChain
from amrikyy.llm.models import ModelSpec
from amrikyy.llm.prices import ModelPrice
from tests.llm.asking import KEY, ask, attempt
from tests.model_server import Behaviour, ModelServer

Open = Callable[..., Models]


@pytest.fixture
async def opened(server: ModelServer) -> AsyncIterator[Open]:
    made: list[Models] = []

    def make(**given: Any) -> Models:
        urls = {
            "gemini_base_url": server.url,
            "openai_base_url": server.openai_url,
            "ollama_base_url": server.openai_url,
        }
        models = open_models(ModelsConfig(**(urls | given)))
        made.append(models)
        return models

    yield make
    for each in made:
        await each.close()
        await each.close()


def names(models: Models) -> list[str]:
    return [client.name for client in models.clients]


# --- Reading the configuration -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gemini:a", [("gemini", "a")]),
        (" gemini:a , openai:b,,", [("gemini", "a"), ("openai", "b")]),
        ("ollama:llama3.2:3b", [("ollama", "llama3.2:3b")]),
        ("offline", [("offline", "offline")]),
    ],
)
def test_models_are_read_in_their_order(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(spec.provider, spec.model) for spec in ModelSpec.parse(text)] == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "names no model"),
        (" , ", "names no model"),
        ("gpt-4o", "'gpt-4o' names no known provider"),
        ("anthropic:claude", "or offline alone"),
        ("gemini:", "names no model; write provider:model"),
        ("gemini:a,offline", "hide an outage"),
        ("offline,offline", "serves alone"),
    ],
)
def test_a_mistake_in_models_is_told(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="MODELS") as caught:
        ModelSpec.parse(text)
    assert says in str(caught.value)


async def test_a_gemini_key_is_all_that_is_needed(opened: Open) -> None:
    models = opened(gemini_api_key=KEY)
    assert names(models) == ["gemini:gemini-2.0-flash-exp", "gemini:gemini-2.5-pro"]
    assert models.for_tier("standard").name == names(models)[0]
    assert models.for_tier("pro").name == names(models)[1]
    assert not models.is_offline


async def test_one_model_for_both_tiers_is_one_client(opened: Open) -> None:
    assert names(opened(gemini_api_key=KEY, gemini_model="m", gemini_pro_model="m")) == ["gemini:m"]
    assert names(opened(models="openai:a,ollama:b,openai:a")) == ["openai:a", "ollama:b"]


async def test_nothing_configured_is_an_error_that_says_what_to_set(opened: Open) -> None:
    with pytest.raises(ValueError, match="set GEMINI_API_KEY, or MODELS"):
        opened()
    with pytest.raises(ValueError, match="GEMINI_API_KEY is not set"):
        opened(models="gemini:a")
    with pytest.raises(ValueError, match="OPENAI_API_KEY is not set"):
        opened(models="openai:a", openai_base_url="https://api.openai.com/v1")


async def test_the_offline_model_serves_when_it_is_asked_for(opened: Open) -> None:
    for models in (opened(models="offline"), opened(allow_offline_default=True)):
        assert models.is_offline
        assert names(models) == ["offline:offline"]
    assert not opened(gemini_api_key=KEY, allow_offline_default=True).is_offline


async def test_a_tier_is_a_chain_with_the_breakers_that_health_shows(opened: Open) -> None:
    models = opened(models="openai:a,ollama:b")
    assert isinstance(models.for_tier("standard"), ModelChain)
    assert list(models.breakers) == ["openai:a", "ollama:b"]
    assert {breaker.state for breaker in models.breakers.values()} == {"closed"}


# --- Serving -----------------------------------------------------------------------------------------


async def test_each_provider_is_asked_in_its_own_protocol(opened: Open, server: ModelServer) -> None:
    for given in (
        {"gemini_api_key": KEY, "gemini_model": "m"},
        {"models": "openai:m", "openai_api_key": KEY},
        {"models": "ollama:m", "openai_api_key": KEY},
    ):
        assert (await ask(opened(**given).for_tier("standard"))).text.startswith("# ")
    google, openai, ollama = server.requests
    assert google.path == "/v1beta/models/m:streamGenerateContent"
    assert openai.headers["authorization"] == f"Bearer {KEY}"
    assert ollama.json["model"] == "m"
    assert "authorization" not in ollama.headers


async def test_a_failing_model_opens_its_breaker_and_the_next_one_serves(opened: Open, server: ModelServer) -> None:
    server.rule = lambda asked: Behaviour(status=503) if asked.json["model"] == "a" else None
    models = opened(models="openai:a,openai:b", retry=Retry(base_s=0))
    for _ in range(4):
        answer = await ask(models.for_tier("standard"))
        assert answer.usage.model == "b"
    assert [each.json["model"] for each in server.posts].count("a") == 5
    assert models.breakers["openai:a"].state == "open"
    assert models.breakers["openai:b"].state == "closed"


async def test_tiers_of_one_model_share_its_breaker(opened: Open, server: ModelServer) -> None:
    models = opened(models="openai:a", retry=Retry(attempts=1))
    server.script += [Behaviour(status=500)] * 5
    for _ in range(5):
        assert isinstance((await attempt(models.for_tier("standard"))).error, ModelOverloaded)
    error = (await attempt(models.for_tier("pro"))).error
    assert error is not None
    assert error.code == "model_circuit_open"


async def test_a_call_that_is_cut_off_is_estimated_and_priced(opened: Open) -> None:
    models = opened(models="openai:a", prices={"a": ModelPrice(1, 2)})
    begun = Usage(model="a", provider="openai", input_tokens=100, estimated=True)
    usage = models.estimate(begun, 400)
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (100, 100, True)
    assert usage.cost_usd == pytest.approx(300 / 1_000_000)
    assert models.estimate(Usage(model="zz", provider="openai"), 4).cost_usd is None


async def test_more_calls_than_usual_are_served_at_the_same_time(opened: Open, server: ModelServer) -> None:
    server.rule = lambda _: Behaviour(pieces=["yes"], before_s=0.1)
    serving = opened(models="openai:a").for_tier("standard")
    answers = await asyncio.wait_for(asyncio.gather(*(ask(serving) for _ in range(150))), 3)
    assert {answer.text for answer in answers} == {"yes"}
    assert max(each.connection for each in server.requests) == 149  # aiohttp's own limit would be 100


async def test_calls_beyond_the_connections_wait_and_are_told_so(opened: Open, server: ModelServer) -> None:
    server.rule = lambda _: Behaviour(before_s=0.5)
    for connections, refused in ((1, 1), (2, 0)):
        models = opened(
            gemini_api_key=KEY, max_connections=connections, deadlines=Deadlines(connect_s=0.1), retry=Retry(1)
        )
        answers = await asyncio.gather(*(attempt(models.for_tier("standard")) for _ in range(2)))
        assert sum(isinstance(answer.error, ModelTimeout) for answer in answers) == refused
