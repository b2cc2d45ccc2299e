"""Gemini's protocol: what is sent, what is read, and what its errors mean."""

from typing import Any

import pytest
from pydantic import BaseModel, Field

from amrikyy.errors import (
    ContextTooLong,
    ModelError,
    ModelKeyRejected,
    ModelMalformed,
    ModelNotFound,
    ModelOverloaded,
    ModelQuotaExceeded,
    ModelRateLimited,
    ModelRefused,
    ModelRequestRejected,
)
from amrikyy.http_client import HttpClient
from amrikyy.llm.gemini import GeminiClient
from amrikyy.llm.schema import wire_schema
from tests.llm.asking import KEY, ask, attempt
from tests.model_server import Behaviour, ModelServer


class Harbour(BaseModel):
    name: str
    depth_m: float = Field(ge=1, le=9)
    tags: list[str] = Field(min_length=2, max_length=4)


@pytest.fixture
def gemini(server: ModelServer, http: HttpClient) -> GeminiClient:
    return GeminiClient("gemini-2.5-flash", KEY, http=http, base_url=f"{server.url}/")


def error_body(status: int, word: str, message: str = "No.", **detail: Any) -> dict[str, Any]:
    details = [{"@type": "type.googleapis.com/google.rpc.Help", "links": [{"url": "https://x"}]}]
    return {"error": {"code": status, "message": message, "status": word, "details": [*details, detail]}}


async def test_prose_is_streamed_with_the_key_in_a_header_and_not_in_the_url(
    gemini: GeminiClient, server: ModelServer
) -> None:
    answer = await ask(gemini, "Why tides?", system="Be brief.", temperature=0.2, max_output_tokens=99)
    [sent] = server.requests
    assert (sent.path, sent.query) == ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", "alt=sse")
    assert sent.headers["x-goog-api-key"] == KEY
    assert sent.json == {
        "contents": [{"role": "user", "parts": [{"text": "Why tides?"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"temperature": 0.2, "maxOutputTokens": 99},
    }
    assert answer.text.startswith("# A short guide to tidal harbours")
    assert len(answer.pieces) > 50
    assert (answer.usage.output_tokens, answer.usage.estimated) == (len(answer.pieces), False)


async def test_a_plain_call_asks_for_the_whole_answer_at_once(gemini: GeminiClient, server: ModelServer) -> None:
    answer = await ask(gemini, streaming=False)
    [sent] = server.requests
    assert (sent.path, sent.query) == ("/v1beta/models/gemini-2.5-flash:generateContent", "")
    assert "systemInstruction" not in sent.json
    assert len(answer.pieces) == 1
    assert answer.text.endswith("beautiful.\n")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_schema_is_sent_and_its_json_comes_back(
    gemini: GeminiClient, server: ModelServer, streaming: bool
) -> None:
    answer = await ask(gemini, schema=Harbour, streaming=streaming)
    Harbour.model_validate_json(answer.text)
    config = server.requests[0].json["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == wire_schema(Harbour)


async def test_thoughts_are_no_part_of_the_answer(gemini: GeminiClient, server: ModelServer) -> None:
    server.script.append(Behaviour(thoughts=3, pieces=["yes"]))
    assert (await ask(gemini)).pieces == ["yes"]


async def test_thinking_is_billed_as_output(gemini: GeminiClient, server: ModelServer) -> None:
    whole = {
        "candidates": [{"content": {"parts": [{"text": "yes"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2, "thoughtsTokenCount": 40},
    }
    server.script.append(Behaviour(body=whole))
    begun, usage = (await ask(gemini, streaming=False)).usages
    assert (begun.model, begun.estimated, begun.cost_usd) == (gemini.model, True, None)
    assert (usage.input_tokens, usage.output_tokens, usage.provider, usage.model) == (7, 42, "gemini", gemini.model)
    assert usage.cost_usd is not None
    assert usage.cost_usd > 0


async def test_an_answer_cut_off_at_the_limit_says_so(gemini: GeminiClient, server: ModelServer) -> None:
    server.script.append(Behaviour(pieces=["half an"], finish="MAX_TOKENS"))
    assert (await ask(gemini)).usage.truncated


async def test_ping_asks_for_the_models_description(gemini: GeminiClient, server: ModelServer) -> None:
    await gemini.ping()
    assert (server.requests[0].method, server.requests[0].path) == ("GET", "/v1beta/models/gemini-2.5-flash")
    server.script.append(Behaviour(status=400, body=error_body(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")))
    with pytest.raises(ModelKeyRejected):
        await gemini.ping()


PER_DAY: dict[str, Any] = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
ERRORS: list[tuple[str, Behaviour, type[ModelError]]] = [
    ("401", Behaviour(status=401, body=error_body(401, "UNAUTHENTICATED")), ModelKeyRejected),
    ("403", Behaviour(status=403, body=error_body(403, "PERMISSION_DENIED")), ModelKeyRejected),
    ("key", Behaviour(status=400, body=error_body(400, "INVALID", reason="API_KEY_INVALID")), ModelKeyRejected),
    ("404", Behaviour(status=404, body=error_body(404, "NOT_FOUND")), ModelNotFound),
    ("429", Behaviour(status=429, body=error_body(429, "RESOURCE_EXHAUSTED")), ModelRateLimited),
    ("quota", Behaviour(status=429, body=error_body(429, "RESOURCE_EXHAUSTED", **PER_DAY)), ModelQuotaExceeded),
    ("500", Behaviour(status=500, body=error_body(500, "INTERNAL")), ModelOverloaded),
    ("503", Behaviour(status=503, body=error_body(503, "UNAVAILABLE")), ModelOverloaded),
    (
        "context",
        Behaviour(
            status=400,
            body=error_body(400, "INVALID", "The input token count (2) exceeds the maximum number of tokens allowed."),
        ),
        ContextTooLong,
    ),
    ("400", Behaviour(status=400, body=error_body(400, "INVALID_ARGUMENT")), ModelRequestRejected),
    ("list", Behaviour(status=503, body=[error_body(503, "UNAVAILABLE")]), ModelOverloaded),
    ("html", Behaviour(status=502, body="<html>Bad gateway</html>"), ModelOverloaded),
    ("empty", Behaviour(status=500, body=""), ModelOverloaded),
    ("empty list", Behaviour(status=500, body="[]"), ModelOverloaded),
    ("no utf-8", Behaviour(status=500, body=b'{"error": {"message": "\xff\xfe"}}'), ModelOverloaded),
    ("too deep", Behaviour(status=500, body='{"error": {"x": ' + "[" * 100_000), ModelOverloaded),
    ("redirect", Behaviour(status=302, headers={"Location": "http://127.0.0.1:1/"}), ModelRequestRejected),
    ("prompt refused", Behaviour(block="PROHIBITED_CONTENT"), ModelRefused),
    ("answer refused", Behaviour(pieces=[], finish="SAFETY"), ModelRefused),
]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("does", "expected"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
async def test_every_error_before_the_first_token_has_its_cause(
    gemini: GeminiClient, server: ModelServer, does: Behaviour, expected: type[ModelError], streaming: bool
) -> None:
    server.script.append(does)
    answer = await attempt(gemini, streaming=streaming)
    assert type(answer.error) is expected
    assert answer.error.model == "gemini:gemini-2.5-flash"
    assert "".join(answer.pieces) == ""
    assert len(server.requests) == 1


async def test_an_answer_refused_in_the_middle_is_a_refusal(gemini: GeminiClient, server: ModelServer) -> None:
    server.script.append(Behaviour(pieces=["first ", "then "], finish="SAFETY"))
    answer = await attempt(gemini)
    assert answer.text == "first then "
    assert isinstance(answer.error, ModelRefused)
    assert "SAFETY" in answer.error.message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}, ModelOverloaded),
        ({"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED"}, ModelRateLimited),
        ({"message": "no code"}, ModelOverloaded),
        ("just a word", ModelMalformed),
    ],
)
async def test_an_error_object_in_the_middle_of_a_stream_has_its_cause(
    gemini: GeminiClient, server: ModelServer, error: Any, expected: type[ModelError]
) -> None:
    server.script.append(Behaviour(pieces=["one ", "two "], error_in_stream=error))
    answer = await attempt(gemini)
    assert answer.text == "one two "
    assert type(answer.error) is expected


async def test_googles_retry_info_says_when_to_try_again(gemini: GeminiClient, server: ModelServer) -> None:
    body = error_body(429, "RESOURCE_EXHAUSTED", retryDelay="3.5s")
    server.script.append(Behaviour(status=429, body=body))
    error = (await attempt(gemini)).error
    assert error is not None
    assert error.retry_after_s == 3.5
    server.script.append(Behaviour(status=429, body=body, headers={"Retry-After": "2"}))
    error = (await attempt(gemini)).error
    assert error is not None
    assert error.retry_after_s == 2
    server.script.append(Behaviour(status=429, body=error_body(429, "RESOURCE_EXHAUSTED", retryDelay="soon")))
    error = (await attempt(gemini)).error
    assert error is not None
    assert error.retry_after_s is None
