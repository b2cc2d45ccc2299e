"""The four deadlines of a call to a provider: connecting, the first token, between tokens, the whole."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from amrikyy.errors import ModelTimeout
from amrikyy.http_client import HttpClient
from amrikyy.llm.deadlines import Deadlines
from amrikyy.llm.request import Request, Usage
from tests.llm.asking import Protocol, ask, attempt, wire_client
from tests.model_server import Behaviour, ModelServer


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a server whose queue is full: a connection to it is neither made nor refused."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(16):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            waiting.append(filler)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for filler in waiting:
            filler.close()


@pytest.mark.parametrize("silence", [{"before_s": 5.0}, {"hang_after": 0}], ids=["no headers", "no token"])
async def test_a_first_token_that_does_not_come_is_a_timeout(
    protocol: Protocol, server: ModelServer, http: HttpClient, silence: Any
) -> None:
    server.script.append(Behaviour(**silence))
    client = wire_client(protocol, server.url, http, deadlines=Deadlines(first_token_s=0.1))
    answer = await attempt(client)
    assert isinstance(answer.error, ModelTimeout)
    assert "did not begin to answer within 0.1 s (MODEL_FIRST_TOKEN_TIMEOUT_S)" in answer.error.message
    assert answer.error.model == client.name
    assert 0.08 < answer.took_s < 0.6


async def test_silence_between_tokens_is_a_timeout(protocol: Protocol, server: ModelServer, http: HttpClient) -> None:
    server.script.append(Behaviour(pieces=["one ", "two ", "three"], hang_after=2))
    client = wire_client(protocol, server.url, http, deadlines=Deadlines(first_token_s=5, token_gap_s=0.1))
    answer = await attempt(client)
    assert answer.text == "one two "
    assert isinstance(answer.error, ModelTimeout)
    assert "fell silent in its answer within 0.1 s (MODEL_TOKEN_TIMEOUT_S)" in answer.error.message
    assert answer.took_s < 0.6


async def test_an_answer_that_goes_on_for_ever_is_a_timeout(
    protocol: Protocol, server: ModelServer, http: HttpClient
) -> None:
    server.script.append(Behaviour(pieces=["more "] * 1000, pause_s=0.01))
    client = wire_client(protocol, server.url, http, deadlines=Deadlines(token_gap_s=0.2, total_s=0.25))
    answer = await attempt(client)
    assert len(answer.pieces) > 3
    assert isinstance(answer.error, ModelTimeout)
    assert "did not finish its answer within 0.25 s (MODEL_TIMEOUT_S)" in answer.error.message
    assert answer.took_s < 0.8


async def test_a_connection_that_is_not_made_is_a_timeout(protocol: Protocol, deaf: str, http: HttpClient) -> None:
    client = wire_client(protocol, deaf, http, deadlines=Deadlines(connect_s=0.1))
    answer = await attempt(client)
    assert isinstance(answer.error, ModelTimeout)
    assert "within 0.1 s (MODEL_CONNECT_TIMEOUT_S)" in answer.error.message
    assert answer.took_s < 0.6
    with pytest.raises(ModelTimeout):
        await client.ping()


async def test_no_free_connection_is_a_timeout_of_connecting(protocol: Protocol, server: ModelServer) -> None:
    server.script.append(Behaviour(pieces=["one "], hang_after=1))
    http = HttpClient(max_connections=1)
    client = wire_client(protocol, server.url, http, deadlines=Deadlines(connect_s=0.1))
    holding = asyncio.create_task(attempt(client))
    await asyncio.sleep(0.05)
    assert isinstance((await attempt(client)).error, ModelTimeout)
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    await http.close()


@pytest.mark.parametrize(("hang_after", "said"), [(0, "did not begin"), (1, "fell silent")])
async def test_comments_that_keep_alive_are_no_tokens(
    protocol: Protocol, server: ModelServer, http: HttpClient, hang_after: int, said: str
) -> None:
    server.script.append(Behaviour(pieces=["one "], hang_after=hang_after, keep_alive_comments=True))
    deadlines = Deadlines(first_token_s=0.15, token_gap_s=0.15)
    answer = await attempt(wire_client(protocol, server.url, http, deadlines=deadlines))
    assert isinstance(answer.error, ModelTimeout)
    assert said in answer.error.message
    assert answer.took_s < 0.6


async def test_comments_between_tokens_are_skipped(protocol: Protocol, server: ModelServer, http: HttpClient) -> None:
    server.script.append(Behaviour(pieces=["one ", "two ", "three"], pause_s=0.03, keep_alive_comments=True))
    assert (await ask(wire_client(protocol, server.url, http))).pieces == ["one ", "two ", "three"]


async def test_a_model_that_thinks_has_not_fallen_silent(
    protocol: Protocol, server: ModelServer, http: HttpClient
) -> None:
    server.script.append(Behaviour(thoughts=8, pieces=["done"], pause_s=0.05))
    deadlines = Deadlines(first_token_s=0.2, token_gap_s=0.2)
    answer = await ask(wire_client(protocol, server.url, http, deadlines=deadlines))
    assert answer.text == "done"
    assert answer.took_s > 0.3


async def test_a_process_that_was_busy_does_not_make_a_punctual_model_late(
    protocol: Protocol, server: ModelServer, http: HttpClient
) -> None:
    server.script.append(Behaviour(pieces=["a ", "b ", "c ", "d "], pause_s=0.02))
    client = wire_client(protocol, server.url, http, deadlines=Deadlines(token_gap_s=0.1))
    pieces: list[str] = []

    def emit(item: list[str] | Usage) -> None:
        if isinstance(item, list):
            pieces.extend(item)
            time.sleep(0.15)

    await client.stream(Request(prompt="x"), emit)
    assert pieces == ["a ", "b ", "c ", "d "]


async def test_a_ping_that_is_not_answered_is_a_timeout(
    protocol: Protocol, server: ModelServer, http: HttpClient
) -> None:
    server.script.append(Behaviour(before_s=5))
    client = wire_client(protocol, server.url, http, deadlines=Deadlines(first_token_s=0.1))
    with pytest.raises(ModelTimeout):
        await client.ping()


async def test_a_timeout_closes_the_connection(protocol: Protocol, server: ModelServer, http: HttpClient) -> None:
    server.script.append(Behaviour(pieces=["one "], hang_after=1))
    client = wire_client(protocol, server.url, http, deadlines=Deadlines(token_gap_s=0.05))
    assert isinstance((await attempt(client)).error, ModelTimeout)
    await asyncio.wait_for(server.requests[0].closed.wait(), 0.5)
