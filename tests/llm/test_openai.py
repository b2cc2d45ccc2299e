"""Chat completions, what servers do not understand of them, and the promises that both wire clients keep."""

import asyncio
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import structlog
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
    ModelUnreachable,
)
from amrikyy.http_client import HttpClient
from amrikyy.llm.dialect import Dialect
from amrikyy.llm.openai import OpenAIClient
from amrikyy.llm.request import Client
from amrikyy.llm.schema import encoded_schema, wire_schema
from tests.llm.asking import KEY, Answer, Protocol, ask, attempt, wire_client
from tests.model_server import Behaviour, ModelServer, Recorded


class Harbour(BaseModel):
    name: str
    depth_m: float = Field(ge=1, le=9)
    tags: list[str] = Field(min_length=2, max_length=4)


@pytest.fixture
def openai(server: ModelServer, http: HttpClient) -> OpenAIClient:
    return OpenAIClient("gpt-5-mini", KEY, http=http, base_url=f"{server.openai_url}/")


def error_body(message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def rejected(answer: Answer) -> ModelError:
    assert answer.error is not None
    return answer.error


# --- What is sent ------------------------------------------------------------------------------------


async def test_prose_is_streamed_and_usage_asked_for(openai: OpenAIClient, server: ModelServer) -> None:
    answer = await ask(openai, "Why tides?", system="Be brief.", temperature=0.2, max_output_tokens=99)
    [sent] = server.requests
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.json == {
        "model": "gpt-5-mini",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 99,
        "temperature": 0.2,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why tides?"}],
    }
    assert answer.text.startswith("# A short guide to tidal harbours")
    assert (answer.usage.output_tokens, answer.usage.estimated) == (len(answer.pieces), False)


async def test_a_plain_call_asks_for_the_whole_answer_at_once(openai: OpenAIClient, server: ModelServer) -> None:
    answer = await ask(openai, streaming=False)
    [sent] = server.requests
    assert sent.json["stream"] is False
    assert "stream_options" not in sent.json
    assert len(sent.json["messages"]) == 1
    assert len(answer.pieces) == 1
    assert answer.text.endswith("beautiful.\n")


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_schema_is_sent_strictly_and_its_json_comes_back(
    openai: OpenAIClient, server: ModelServer, streaming: bool
) -> None:
    answer = await ask(openai, schema=Harbour, streaming=streaming)
    Harbour.model_validate_json(answer.text)
    form = {"name": "Harbour", "schema": wire_schema(Harbour), "strict": True}
    assert server.requests[0].json["response_format"] == {"type": "json_schema", "json_schema": form}


async def test_without_a_key_none_is_sent(server: ModelServer, http: HttpClient) -> None:
    await ask(OpenAIClient("llama", None, http=http, base_url=server.openai_url, provider="ollama"))
    assert "authorization" not in server.requests[0].headers


async def test_ping_lists_the_models(openai: OpenAIClient, server: ModelServer) -> None:
    await openai.ping()
    assert (server.requests[0].method, server.requests[0].path) == ("GET", "/v1/models")
    server.script.append(Behaviour(status=401, body=error_body("no")))
    with pytest.raises(ModelKeyRejected):
        await openai.ping()


async def test_reasoning_is_no_part_of_the_answer(openai: OpenAIClient, server: ModelServer) -> None:
    server.script.append(Behaviour(thoughts=3, pieces=["yes"]))
    assert (await ask(openai)).pieces == ["yes"]


async def test_an_answer_cut_off_at_the_limit_says_so(openai: OpenAIClient, server: ModelServer) -> None:
    server.script.append(Behaviour(pieces=["half an"], finish="length"))
    assert (await ask(openai)).usage.truncated


# --- What a server does not understand ---------------------------------------------------------------


def understands(*forms: str) -> Any:
    """A rule for a server that knows only these response formats."""

    def rule(recorded: Recorded) -> Behaviour | None:
        form = (recorded.json.get("response_format") or {}).get("type")
        if form is None or form in forms:
            return None
        return Behaviour(status=400, body=error_body(f"'response_format.type' {form} is not supported"), before_s=0.02)

    return rule


def forms(server: ModelServer) -> list[str | None]:
    return [(each.json.get("response_format") or {}).get("type") for each in server.posts]


async def test_a_server_without_schemas_is_asked_for_an_object_and_that_is_learnt_once(
    openai: OpenAIClient, server: ModelServer
) -> None:
    server.rule = understands("json_object")
    for _ in range(3):
        Harbour.model_validate_json((await ask(openai, schema=Harbour)).text)
    assert forms(server) == ["json_schema", "json_object", "json_object", "json_object"]
    assert encoded_schema(Harbour).decode() in server.requests[1].json["messages"][-1]["content"]


async def test_a_server_without_any_form_is_asked_in_the_prompt(openai: OpenAIClient, server: ModelServer) -> None:
    server.rule = understands()
    for streaming in (True, False):
        Harbour.model_validate_json((await ask(openai, schema=Harbour, streaming=streaming)).text)
    assert forms(server) == ["json_schema", "json_object", None, None]


async def test_calls_that_learn_at_the_same_time_learn_no_more_than_one_would(
    openai: OpenAIClient, server: ModelServer
) -> None:
    server.rule = understands("json_object")
    for answer in await asyncio.gather(*(ask(openai, schema=Harbour) for _ in range(8))):
        Harbour.model_validate_json(answer.text)
    assert set(forms(server)) == {"json_schema", "json_object"}


@pytest.mark.parametrize("parameter", ["stream_options", "temperature", "max_completion_tokens"])
async def test_a_parameter_that_the_server_does_not_know_is_left_out(
    openai: OpenAIClient, server: ModelServer, parameter: str
) -> None:
    openai._dialect = Dialect(length_name="max_completion_tokens")  # as for api.openai.com

    def rule(recorded: Recorded) -> Behaviour | None:
        known = parameter not in recorded.json
        return None if known else Behaviour(status=400, before_s=0.02, body=error_body("Unsupported", param=parameter))

    server.rule = rule
    await asyncio.gather(ask(openai), ask(openai))
    await ask(openai)
    assert [parameter in each.json for each in server.posts] == [True, True, False, False, False]


async def test_without_a_schema_no_complaint_about_schemas_is_learnt_from(
    openai: OpenAIClient, server: ModelServer
) -> None:
    server.script.append(Behaviour(status=400, body=error_body("Your schema is bad")))
    assert isinstance(rejected(await attempt(openai)), ModelRequestRejected)
    assert len(server.requests) == 1


# --- What errors mean --------------------------------------------------------------------------------

ERRORS: list[tuple[str, Behaviour, type[ModelError]]] = [
    ("401", Behaviour(status=401, body=error_body("Incorrect API key", "invalid_api_key")), ModelKeyRejected),
    ("403", Behaviour(status=403, body=error_body("Forbidden")), ModelKeyRejected),
    ("404", Behaviour(status=404, body=error_body("The model does not exist", "model_not_found")), ModelNotFound),
    ("429", Behaviour(status=429, body=error_body("Rate limit", "rate_limit_exceeded")), ModelRateLimited),
    ("quota", Behaviour(status=429, body=error_body("You exceeded", "insufficient_quota")), ModelQuotaExceeded),
    ("500", Behaviour(status=500, body=error_body("Oops")), ModelOverloaded),
    ("503", Behaviour(status=503, body={"error": "loading the model"}), ModelOverloaded),
    ("context", Behaviour(status=400, body=error_body("Too long", "context_length_exceeded")), ContextTooLong),
    ("vllm", Behaviour(status=400, body={"message": "This model's maximum context length is 9"}), ContextTooLong),
    ("400", Behaviour(status=400, body=error_body("Bad", "bad")), ModelRequestRejected),
    ("422", Behaviour(status=422, body={"detail": [{"loc": ["body"], "msg": "wrong"}]}), ModelRequestRejected),
    ("html", Behaviour(status=502, body="<html>Bad gateway</html>"), ModelOverloaded),
    ("empty", Behaviour(status=500, body=""), ModelOverloaded),
    ("list", Behaviour(status=500, body="[]"), ModelOverloaded),
    ("no utf-8", Behaviour(status=500, body=b'{"error": {"message": "\xff\xfe"}}'), ModelOverloaded),
    ("too deep", Behaviour(status=500, body='{"detail": ' + "[" * 100_000), ModelOverloaded),
    ("redirect", Behaviour(status=302, headers={"Location": "http://127.0.0.1:1/"}), ModelRequestRejected),
    ("prompt filtered", Behaviour(status=400, body=error_body("Filtered", "content_filter")), ModelRefused),
    ("refusal", Behaviour(block="I cannot help with that."), ModelRefused),
    ("answer filtered", Behaviour(pieces=[], finish="content_filter"), ModelRefused),
]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("does", "expected"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
async def test_every_error_before_the_first_token_has_its_cause(
    openai: OpenAIClient, server: ModelServer, does: Behaviour, expected: type[ModelError], streaming: bool
) -> None:
    server.script.append(does)
    answer = await attempt(openai, streaming=streaming)
    assert type(answer.error) is expected
    assert answer.error.model == "openai:gpt-5-mini"
    assert answer.text == ""
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 503, "message": "Overloaded"}, ModelOverloaded),
        ({"code": 429, "message": "Slow down"}, ModelRateLimited),
        ({"code": "insufficient_quota", "message": "Pay"}, ModelQuotaExceeded),
        ({"message": "no code"}, ModelOverloaded),
        ("just a word", ModelOverloaded),
        ([], ModelMalformed),
    ],
)
async def test_an_error_object_in_the_middle_of_a_stream_has_its_cause(
    openai: OpenAIClient, server: ModelServer, error: Any, expected: type[ModelError]
) -> None:
    server.script.append(Behaviour(pieces=["one ", "two "], error_in_stream=error))
    answer = await attempt(openai)
    assert answer.text == "one two "
    assert type(answer.error) is expected


async def test_an_answer_filtered_in_the_middle_is_a_refusal(openai: OpenAIClient, server: ModelServer) -> None:
    server.script.append(Behaviour(pieces=["first ", "then "], finish="content_filter"))
    answer = await attempt(openai)
    assert answer.text == "first then "
    assert isinstance(answer.error, ModelRefused)


# --- Promises of both protocols ----------------------------------------------------------------------


async def test_the_first_item_says_who_answers_and_estimates_the_prompt(client: Client) -> None:
    answer = await ask(client, "x" * 400)
    first = answer.usages[0]
    assert (first.model, f"{first.provider}:{first.model}") == ("test", client.name)
    assert (first.input_tokens, first.output_tokens, first.estimated) == (100, 0, True)
    assert len(answer.usages) == 2


@pytest.mark.parametrize("streaming", [True, False])
async def test_tokens_that_are_not_reported_are_estimated(client: Client, server: ModelServer, streaming: bool) -> None:
    server.script.append(Behaviour(pieces=["x" * 50] * 2, usage=False))
    usage = (await ask(client, "y" * 40, streaming=streaming)).usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (10, 25, True)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_read_as_seconds_and_as_a_date(client: Client, server: ModelServer, status: int) -> None:
    server.script.append(Behaviour(status=status, headers={"Retry-After": "7"}))
    assert rejected(await attempt(client)).retry_after_s == 7
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    server.script.append(Behaviour(status=status, headers={"Retry-After": at}))
    assert 25 < (rejected(await attempt(client)).retry_after_s or 0) <= 30
    for nothing in ("", "soon", "-1", "²", "Wed, 99 Foo 2026", "Wed, 21 Oct 2015 07:28:00 -0000"):
        server.script.append(Behaviour(status=status, headers={"Retry-After": nothing}))
        assert rejected(await attempt(client)).retry_after_s is None


GARBAGE = {
    "no json": b"data: this is no JSON\n\n",
    "half a json event": b'data: {"candidates": [{"content": {"par\n\n',
    "half a json event without its end": b'data: {"choices": [{"del',
    "another shape": b'data: {"choices": 3, "candidates": "x"}\n\n',
    "no utf-8": b'data: {"choices": [{"delta": {"content": "\xff"}}], "candidates": [{"finishReason": "\xff"}]}\n\n',
    "too deep": b'data: {"x": ' + b"[" * 100_000 + b"\n\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_in_a_stream_is_malformed(client: Client, server: ModelServer, garbage: bytes) -> None:
    server.script += [Behaviour(pieces=[], garbage=garbage), Behaviour(pieces=["one ", "two "], garbage=garbage)]
    assert type(rejected(await attempt(client))) is ModelMalformed
    answer = await attempt(client)
    assert answer.text == "one two "
    assert type(answer.error) is ModelMalformed


@pytest.mark.parametrize("body", [b"<html>", b"", b"null", b'{"a', b"\xff", b'{"x":' + b"[" * 100_000, b"{}", b"[]"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_garbage_instead_of_an_answer_is_malformed(
    client: Client, server: ModelServer, body: bytes, streaming: bool
) -> None:
    server.script.append(Behaviour(body=body))
    assert type(rejected(await attempt(client, streaming=streaming))) is ModelMalformed


async def test_an_endless_event_is_given_up(client: Client, server: ModelServer) -> None:
    server.script.append(Behaviour(pieces=["one "], garbage=b"data: " + b"x" * 1_200_000))
    answer = await attempt(client)
    assert answer.text == "one "
    assert type(answer.error) is ModelMalformed


async def test_an_endless_body_is_given_up(client: Client, server: ModelServer) -> None:
    server.script.append(Behaviour(body=b" " * 8_100_000))
    assert type(rejected(await attempt(client, streaming=False))) is ModelMalformed


async def test_a_stream_that_ends_without_a_finish_reason_broke_off(client: Client, server: ModelServer) -> None:
    server.script.append(Behaviour(pieces=["one ", "two "], finish="", done=False))
    answer = await attempt(client)
    assert answer.text == "one two "
    assert type(answer.error) is ModelMalformed


@pytest.mark.parametrize("broken", [{"cut": True}, {"reset": True}], ids=["cut", "reset"])
@pytest.mark.parametrize("pieces", [[], ["one ", "two "]], ids=["before", "after"])
async def test_a_connection_that_breaks_in_a_stream_is_unreachable(
    client: Client, server: ModelServer, broken: Any, pieces: list[str]
) -> None:
    server.script.append(Behaviour(pieces=pieces, **broken))
    answer = await attempt(client)
    assert answer.pieces == pieces
    assert type(answer.error) is ModelUnreachable


@pytest.mark.parametrize("broken", [{"cut": True}, {"reset": True}], ids=["cut", "reset"])
async def test_a_connection_that_breaks_in_a_plain_answer_is_unreachable(
    client: Client, server: ModelServer, broken: Any
) -> None:
    server.script.append(Behaviour(**broken))
    assert type(rejected(await attempt(client, streaming=False))) is ModelUnreachable


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
RAW = {
    "nothing": b"\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "half a status line": b"HTTP/1.1 20",
    "no chunk": CHUNKED + b"\r\nzz\r\nwhatever\r\n",
    "no gzip": CHUNKED + b"content-encoding: gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\ndata: ",
}


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("raw", RAW.values(), ids=RAW.keys())
async def test_what_is_no_http_is_unreachable(client: Client, server: ModelServer, raw: bytes, streaming: bool) -> None:
    server.script.append(Behaviour(raw=raw))
    assert type(rejected(await attempt(client, streaming=streaming))) is ModelUnreachable


async def test_a_port_where_nobody_listens_is_unreachable(
    protocol: Protocol, server: ModelServer, http: HttpClient
) -> None:
    nowhere = wire_client(protocol, "http://127.0.0.1:1", http)
    assert type(rejected(await attempt(nowhere))) is ModelUnreachable
    with pytest.raises(ModelUnreachable):
        await nowhere.ping()


async def test_finished_exchanges_use_the_connection_again(client: Client, server: ModelServer) -> None:
    server.script += [Behaviour(status=500, body={"error": {"message": "no"}}), Behaviour(status=404)]
    await attempt(client)
    await attempt(client)
    await ask(client)
    await ask(client, streaming=False)
    await client.ping()
    await ask(client)
    assert {each.connection for each in server.requests} == {0}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
async def test_the_key_is_in_no_error_and_in_no_log(client: Client, server: ModelServer, status: int) -> None:
    messages = [
        f"Your key {KEY} is bad",
        f"see https://x/?key={KEY}",
        "x" * 280 + KEY,
        f"Bearer {KEY}",
        "sk-abcdefgh12",
    ]
    with structlog.testing.capture_logs() as logs:
        for message in messages:
            server.script.append(
                Behaviour(status=status, body={"error": {"message": message, "code": status if status == 500 else KEY}})
            )
            error = rejected(await attempt(client, schema=Harbour))
            told = "".join(traceback.format_exception(error)) + repr(error) + error.message + str(error.details)
            assert "secret" not in told
            assert KEY[:10] not in told
            assert "sk-abc" not in told
    assert KEY[:10] not in str(logs)


async def test_a_providers_own_message_is_passed_on_short(client: Client, server: ModelServer) -> None:
    server.script.append(Behaviour(status=500, body={"error": {"message": "Sorry,\n  but " + "no " * 1000}}))
    message = rejected(await attempt(client)).message
    assert 'It says: "Sorry, but no no' in message
    assert len(message) < 450
