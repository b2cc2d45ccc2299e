"""What is easily forgotten: hard cases of the wire, the chain, the configuration, schemas and the offline model."""

import asyncio
import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import (
    BaseModel,
    Field,
)

from amrikyy.errors import (
    ModelCircuitOpen,
    ModelError,
    ModelKeyRejected,
    ModelMalformed,
    ModelOverloaded,
    ModelRefused,
)
from amrikyy.http_client import HttpClient
from amrikyy.llm.breaker import Breaker
from amrikyy.llm.chain import ModelChain, Retry
from amrikyy.llm.deadlines import Deadlines
from amrikyy.llm.models import ModelsConfig, open_models
from amrikyy.llm.request import Client, Request
from tests.llm.asking import KEY, Answer, Protocol, ask, attempt, until, wire_client
from tests.model_server import Behaviour, ModelServer, Recorded


def details(answer: Answer) -> list[dict[str, Any]]:
    assert answer.error is not None
    return answer.error.details


def said(answer: Answer) -> str:
    assert answer.error is not None
    return answer.error.message


class Trip(BaseModel):
    city: str
    days: int = Field(gt=0)


# --- wire ---


async def test_fences_around_json_are_stripped(server: ModelServer, http: HttpClient) -> None:
    client = wire_client("openai", server.url, http)
    server.script.append(Behaviour(pieces=["``", "`js", 'on\n{"city": ', '"A", "days": 2}', "\n``", "`\n"]))
    answer = await ask(client, schema=Trip)
    assert Trip.model_validate_json(answer.text).days == 2


async def test_the_prompt_is_never_in_an_error(client: Client, server: ModelServer) -> None:
    prompt = "My secret diary says that I buried the gold under the old oak tree in the garden of my aunt."
    body = {"error": {"code": 400, "message": f"Invalid value: {prompt}"}}
    if body:
        server.script.append(Behaviour(status=400, body=body))
        answer = await attempt(client, prompt)
        assert "buried the gold" not in said(answer)


async def test_a_key_is_never_in_an_error(client: Client, server: ModelServer) -> None:
    for pad in range(260, 310):
        server.script.append(
            Behaviour(status=400, body={"error": {"code": 400, "message": "x" * pad + " " + KEY, "status": "A"}})
        )
        answer = await attempt(client)
        assert KEY[:8] not in said(answer)


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_answer_with_nothing_at_all_is_malformed(client: Client, server: ModelServer, streaming: bool) -> None:
    server.script.append(Behaviour(pieces=[]))
    answer = await attempt(client, streaming=streaming)
    assert isinstance(answer.error, ModelError), answer


async def test_an_answer_that_is_complete_is_not_lost_because_the_body_does_not_end(
    server: ModelServer,
    http: HttpClient,
    protocol: Protocol,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """finish reason and usage came, and the server leaves the connection open."""
    monkeypatch.setattr("amrikyy.llm.deadlines.AFTER_FINISH_S", 0.1)

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if protocol == "gemini":
            body: dict[str, Any] = {
                "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1},
            }
            await response.write(b"data: " + json.dumps(body).encode() + b"\r\n\r\n")
        else:
            events: list[dict[str, Any]] = [
                {"choices": [{"delta": {"content": "Hi"}, "finish_reason": None}]},
                {"choices": [{"delta": {}, "finish_reason": "stop"}]},
                {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
            ]
            for event in events:
                await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            await response.write(b"data: [DONE]\n\n")
        await asyncio.sleep(30)
        return response

    app = web.Application()
    app.router.add_post("/{x:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    client = wire_client(protocol, url, http, deadlines=Deadlines(token_gap_s=3))
    answer = await attempt(client)
    await runner.cleanup()
    assert answer.error is None
    assert answer.text == "Hi"


@pytest.mark.parametrize("count", [-1_000_000, 10**12, 10**30])
@pytest.mark.parametrize("streaming", [True, False])
async def test_a_count_of_tokens_that_cannot_be_is_no_count(
    client: Client, server: ModelServer, protocol: Protocol, count: int, streaming: bool
) -> None:
    body: dict[str, Any]
    if protocol == "gemini":
        counted = {"promptTokenCount": count, "candidatesTokenCount": 1}
        body = {
            "candidates": [{"content": {"parts": [{"text": "x" * 100}]}, "finishReason": "STOP"}],
            "usageMetadata": counted,
        }
    else:
        counted = {"prompt_tokens": 1, "completion_tokens": count}
        said = {"content": "x" * 100}
        body = {"choices": [{"delta": said, "message": said, "finish_reason": "stop"}], "usage": counted}
    server.script.append(Behaviour(body=body))
    usage = (await ask(client, "y" * 40, streaming=streaming)).usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (10, 25, True)


async def test_a_web_page_instead_of_an_answer_says_to_check_the_address(client: Client, server: ModelServer) -> None:
    server.script.append(Behaviour(status=200, body="<html>Welcome</html>", headers={"Content-Type": "text/html"}))
    answer = await attempt(client)
    assert isinstance(answer.error, ModelMalformed)
    assert "BASE_URL" in said(answer)


async def test_a_refusal_says_what_the_prompt_used(client: Client, server: ModelServer) -> None:
    server.script.append(Behaviour(block="SAFETY"))
    answer = await attempt(client, "x" * 400)
    assert isinstance(answer.error, ModelRefused)


async def test_a_plain_answer_may_take_longer_than_a_first_token(
    protocol: Protocol, server: ModelServer, http: HttpClient
) -> None:
    server.script.append(Behaviour(before_s=0.3, pieces=["whole"]))
    client = wire_client(protocol, server.url, http, deadlines=Deadlines(first_token_s=0.1, total_s=5))
    assert (await ask(client, streaming=False)).text == "whole"


async def test_concurrent_complaints_skip_no_level(server: ModelServer, http: HttpClient) -> None:
    client = wire_client("openai", server.url, http)

    def rule(recorded: Recorded) -> Behaviour | None:
        form = recorded.json.get("response_format", {}).get("type")
        return (
            Behaviour(
                status=400, before_s=0.02, body={"error": {"message": "response_format json_schema is unsupported"}}
            )
            if form == "json_schema"
            else None
        )

    server.rule = rule
    await asyncio.gather(*(attempt(client, schema=Trip) for _ in range(5)))
    assert all(each.json.get("response_format") for each in server.posts)


async def test_a_value_out_of_range_is_not_hidden_by_leaving_the_parameter_out(
    server: ModelServer, http: HttpClient
) -> None:
    client = wire_client("openai", server.url, http)
    server.rule = lambda r: (
        Behaviour(status=400, body={"error": {"message": "temperature must be between 0 and 1"}})
        if "temperature" in r.json
        else None
    )
    answer = await attempt(client, temperature=1.8)
    assert isinstance(answer.error, ModelError)


async def test_a_bad_schema_does_not_take_structured_output_from_the_others(
    server: ModelServer, http: HttpClient
) -> None:
    class Other(BaseModel):
        x: int

    client = wire_client("openai", server.url, http)
    server.rule = lambda r: (
        Behaviour(status=400, body={"error": {"message": "Invalid schema for response_format 'Other'"}})
        if (r.json.get("response_format") or {}).get("json_schema", {}).get("name") == "Other"
        else None
    )
    await attempt(client, schema=Other)
    await ask(client, schema=Trip)
    assert server.posts[-1].json["response_format"]["type"] == "json_schema"


# --- breaker and chain ---


async def test_a_call_from_before_the_opening_does_not_free_the_probe(server: ModelServer, http: HttpClient) -> None:
    now = [0.0]
    breaker = Breaker(failures=2, open_s=10, monotonic=lambda: now[0])
    client = wire_client("gemini", server.url, http)
    chain = ModelChain([(client, breaker)], retry=Retry(attempts=1))
    server.script.append(Behaviour(pieces=["old "], hang_after=1))
    old = asyncio.create_task(attempt(chain))
    await asyncio.sleep(0.05)
    for _ in range(2):
        server.script.append(Behaviour(status=503))
        await attempt(chain)
    assert breaker.state == "open"
    now[0] = 11
    server.script.append(Behaviour(before_s=5))
    probe = asyncio.create_task(attempt(chain))
    await asyncio.sleep(0.05)
    old.cancel()
    await asyncio.gather(old, return_exceptions=True)
    sent = len(server.posts)
    third = await asyncio.wait_for(attempt(chain), 2)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert isinstance(third.error, ModelCircuitOpen), third
    assert len(server.posts) == sent


async def test_a_probe_that_answers_lets_the_others_through_before_it_ends(
    server: ModelServer, http: HttpClient
) -> None:
    now = [0.0]
    breaker = Breaker(failures=1, open_s=10, monotonic=lambda: now[0])
    chain = ModelChain([(wire_client("gemini", server.url, http), breaker)], retry=Retry(attempts=1))
    server.script.append(Behaviour(status=503))
    await attempt(chain)
    now[0] = 11
    server.script.append(Behaviour(pieces=["a "] * 100, pause_s=0.02))
    probe = asyncio.create_task(attempt(chain))
    await asyncio.sleep(0.2)
    other = await attempt(chain)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert other.error is None, other.error


async def test_the_total_deadline_bounds_the_sum_of_attempts(server: ModelServer, http: HttpClient) -> None:
    deadlines = Deadlines(first_token_s=10, total_s=0.5)
    clients = [wire_client("gemini", server.url, http, deadlines=deadlines, model=m) for m in ("a", "b", "c")]
    server.rule = lambda _: Behaviour(before_s=0.35, status=503)
    chain = ModelChain([(c, Breaker()) for c in clients], retry=Retry(attempts=1), total_s=0.5)
    answer = await attempt(chain)
    assert answer.error is not None
    assert answer.took_s < 0.75, answer.took_s


async def test_a_skipped_model_does_not_hide_what_went_wrong(server: ModelServer, http: HttpClient) -> None:
    broken, skipped = (wire_client("gemini", server.url, http, model=m) for m in ("a", "b"))
    closed, opened = Breaker(), Breaker(failures=1)
    warm = ModelChain([(skipped, opened)], retry=Retry(attempts=1))
    server.script.append(Behaviour(status=503))
    await attempt(warm)
    server.script.append(Behaviour(status=401))
    answer = await attempt(ModelChain([(broken, closed), (skipped, opened)], retry=Retry(attempts=1)))
    assert isinstance(answer.error, ModelKeyRejected)
    assert len(details(answer)) == 2


async def test_an_open_breaker_during_retries_does_not_hide_the_failure(server: ModelServer, http: HttpClient) -> None:
    chain = ModelChain(
        [(wire_client("gemini", server.url, http), Breaker(failures=2))], retry=Retry(attempts=3, base_s=0.001)
    )
    server.rule = lambda _: Behaviour(status=503)
    answer = await attempt(chain)
    assert isinstance(answer.error, ModelOverloaded), answer.error


async def test_details_name_each_model_once(server: ModelServer, http: HttpClient) -> None:
    chain = ModelChain(
        [(wire_client("gemini", server.url, http, model=m), Breaker()) for m in ("a", "b")],
        retry=Retry(attempts=3, base_s=0.001),
    )
    server.rule = lambda _: Behaviour(status=503)
    answer = await attempt(chain)
    assert [d["model"] for d in details(answer)] == ["gemini:a", "gemini:b"]


async def test_one_model_that_can_be_reached_is_enough_for_a_ping(server: ModelServer, http: HttpClient) -> None:
    chain = ModelChain(
        [
            (wire_client("gemini", "http://127.0.0.1:1", http, model="a"), Breaker()),
            (wire_client("gemini", server.url, http), Breaker()),
        ]
    )
    await chain.ping()


# --- config ---


async def test_a_key_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="GEMINI_API_KEY"):
        open_models(ModelsConfig(models="gemini:x", gemini_api_key="abc\r\nX-Evil: 1"))


async def test_keys_are_not_in_the_configs_repr() -> None:
    assert "s3cr3t" not in repr(ModelsConfig(gemini_api_key="s3cr3t", openai_api_key="s3cr3t"))


async def test_the_same_model_twice_is_asked_once() -> None:
    models = open_models(ModelsConfig(models="gemini:x,gemini:x", gemini_api_key="abc"))
    assert models.for_tier("pro").name == "gemini:x"
    await models.close()


# --- closing over TLS ---


async def test_leaving_closes_a_tls_connection_at_once(tmp_path: Path) -> None:
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            str(tmp_path / "k"),
            "-out",
            str(tmp_path / "c"),
            "-days",
            "1",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    # a raw TCP relay, so that the close is seen at the TCP socket and not through TLS' own farewell
    gone = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        body = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}
        await response.write(b"data: " + json.dumps(body).encode() + b"\r\n\r\n")
        await asyncio.sleep(5)
        return response

    app = web.Application()
    app.router.add_post("/{x:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)

        async def down() -> None:
            while data := await up_reader.read(65536):
                writer.write(data)

        task = asyncio.create_task(down())
        try:
            while data := await reader.read(65536):
                if not frozen.is_set():
                    up_writer.write(data)
        except ConnectionError:
            pass
        gone.set()
        task.cancel()
        up_writer.close()
        writer.close()

    frozen = asyncio.Event()
    proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "c"))
    http = HttpClient(tls=trusting)
    client = wire_client("gemini", f"https://127.0.0.1:{proxy.sockets[0].getsockname()[1]}", http)
    said = Answer()
    reading = asyncio.create_task(client.stream(Request(prompt="x"), said.take))
    await until(lambda: said.text == "Hi")
    frozen.set()  # from here on the other side does not answer a farewell
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await asyncio.wait_for(gone.wait(), 0.5)
    await http.close()
    proxy.close()
    await runner.cleanup()
