"""A model that writes less than an operation asks for is asked for what it can, and that is remembered."""

import pytest

from amrikyy.http_client import HttpClient
from amrikyy.llm.client import lower_output_limit
from tests.llm.asking import Protocol, ask, attempt, wire_client
from tests.model_server import Behaviour, ModelServer

OPENAI = (
    "max_tokens is too large: 46000. This model supports at most 16384 completion tokens, whereas you provided 46000."
)
GEMINI = (
    "Unable to submit request because it has a maxOutputTokens value of 46000 but the supported range is from 1 "
    "(inclusive) to 8193 (exclusive). Update the value and try again."
)
VLLM = (
    "'max_tokens' or 'max_completion_tokens' is too large: 46000. This model's maximum context length is 32768 tokens "
    "and your request has 500 input tokens (46000 > 32768 - 500)."
)


@pytest.mark.parametrize(
    ("complaint", "asked", "limit"),
    [
        (OPENAI, 46000, 16384),
        (GEMINI, 46000, 8192),
        (VLLM, 46000, 32768),
        (VLLM.replace("46000", "32768"), 32768, 16384),
        ("max_tokens must be less than 4097", 46000, 4097),
        ("max_tokens must be less than 4097", 4097, 2048),
        ("max_tokens exceeds the limit", 300, None),
        ("temperature must be at most 2", 46000, None),
        ("Invalid JSON schema: maximum is not supported", 46000, None),
    ],
)
def test_the_limit_is_read_from_any_wording_or_found_by_halving(complaint: str, asked: int, limit: int | None) -> None:
    assert lower_output_limit(complaint, asked) == limit


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_model_is_asked_again_within_its_limit_and_only_once(
    protocol: Protocol, server: ModelServer, http: HttpClient, streaming: bool
) -> None:
    complaint = GEMINI if protocol == "gemini" else OPENAI
    client = wire_client(protocol, server.url, http)
    server.script.append(Behaviour(status=400, body={"error": {"message": complaint, "code": 400}}))
    first = await ask(client, streaming=streaming, max_output_tokens=46000)
    assert first.text
    await ask(client, streaming=streaming, max_output_tokens=46000)
    await ask(client, streaming=streaming, max_output_tokens=500)
    assert [_asked(post.json) for post in server.posts] == [
        46000,
        *([8192] * 2 if protocol == "gemini" else [16384] * 2),
        500,
    ]


async def test_a_server_that_rejects_any_length_is_not_asked_for_ever(
    protocol: Protocol, server: ModelServer, http: HttpClient
) -> None:
    server.rule = lambda _: Behaviour(status=400, body={"error": {"message": "max_tokens exceeds the limit"}})
    answer = await attempt(wire_client(protocol, server.url, http), max_output_tokens=4096)
    assert answer.error is not None
    assert answer.error.code == "model_request_rejected"
    assert len(server.posts) == 5  # 4096, 2048, 1024, 512, 256


def _asked(body: dict[str, object]) -> object:
    config = body.get("generationConfig")
    return config["maxOutputTokens"] if isinstance(config, dict) else body["max_tokens"]
