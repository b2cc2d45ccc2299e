"""Nobody pays for an answer that nobody reads: leaving a call closes the provider's connection at once."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from amrikyy.llm.breaker import Breaker
from amrikyy.llm.chain import ModelChain
from amrikyy.llm.request import Client, Request
from tests.llm.asking import attempt, until
from tests.model_server import Behaviour, ModelServer

WITHIN_S = 0.5


@pytest.fixture(params=["client", "chain"])
def asked(request: pytest.FixtureRequest, client: Client) -> Client:
    """The bare client, and the chain that the server uses."""
    return client if request.param == "client" else ModelChain([(client, Breaker())])


BEFORE_HEADERS = Behaviour(before_s=30)
BEFORE_TOKENS = Behaviour(hang_after=0)
BETWEEN_TOKENS = Behaviour(pieces=["one ", "two "], hang_after=1)
COMMENTING = Behaviour(pieces=["one "], hang_after=1, keep_alive_comments=True)


async def closes_soon(server: ModelServer, since: float) -> None:
    await asyncio.wait_for(server.requests[0].closed.wait(), 2 * WITHIN_S)
    closed_at = server.requests[0].closed_at
    assert closed_at is not None
    assert closed_at - since < WITHIN_S


@pytest.mark.parametrize(
    "does", [BEFORE_HEADERS, BEFORE_TOKENS, BETWEEN_TOKENS, COMMENTING],
    ids=["before headers", "before tokens", "between tokens", "with comments"],
)  # fmt: skip
@pytest.mark.parametrize("streaming", [True, False])
async def test_cancelling_the_task_closes_the_connection(
    asked: Client, server: ModelServer, does: Behaviour, streaming: bool
) -> None:
    server.script.append(does)
    reading = asyncio.create_task(attempt(asked, streaming=streaming))
    await until(lambda: bool(server.requests) and (does.before_s > 0 or server.requests[0].began.is_set()))
    await asyncio.sleep(0.03)
    assert not server.requests[0].closed.is_set()
    since = asyncio.get_running_loop().time()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await closes_soon(server, since)


@pytest.mark.parametrize("does", [BETWEEN_TOKENS, COMMENTING, Behaviour(pieces=["one "] * 500, pause_s=0.01)])
async def test_closing_the_iterator_between_tokens_closes_the_connection(
    asked: Client, server: ModelServer, does: Behaviour
) -> None:
    server.script.append(does)
    async with aclosing(asked.stream(Request(prompt="x"))) as items:
        async for item in items:
            if isinstance(item, list):
                break
        since = asyncio.get_running_loop().time()
    await closes_soon(server, since)


async def test_closing_the_iterator_before_the_first_token_closes_the_connection(
    asked: Client, server: ModelServer
) -> None:
    server.script.append(BEFORE_TOKENS)
    items = asked.stream(Request(prompt="x"))
    await anext(items)  # who answers
    since = asyncio.get_running_loop().time()
    await items.aclose()
    await closes_soon(server, since)


async def test_giving_up_before_the_headers_closes_the_connection(asked: Client, server: ModelServer) -> None:
    server.script.append(BEFORE_HEADERS)
    items = asked.stream(Request(prompt="x"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(items), 0.1)
    since = asyncio.get_running_loop().time()
    await items.aclose()
    await closes_soon(server, since)


async def test_a_reader_that_fails_closes_the_connection(asked: Client, server: ModelServer) -> None:
    server.script.append(BETWEEN_TOKENS)

    async def read() -> None:
        async with aclosing(asked.stream(Request(prompt="x"))) as items:
            async for item in items:
                if isinstance(item, list):
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await read()
    await closes_soon(server, asyncio.get_running_loop().time())


async def test_cancelling_many_calls_leaves_no_connection_open(
    client: Client, server: ModelServer, session: Any
) -> None:
    server.rule = lambda _: BETWEEN_TOKENS
    reading = [asyncio.create_task(attempt(client)) for _ in range(30)]
    await until(lambda: len(server.requests) == 30 and all(each.began.is_set() for each in server.requests))
    for each in reading:
        each.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    await until(lambda: all(each.closed.is_set() for each in server.requests), WITHIN_S)
    assert not session.connector._acquired


async def test_what_nobody_has_read_yet_is_not_in_the_way_of_closing(client: Client, server: ModelServer) -> None:
    server.script.append(Behaviour(pieces=["x" * 1000] * 2000))
    async with aclosing(client.stream(Request(prompt="x"))) as items:
        async for item in items:
            if isinstance(item, list):
                break
    await closes_soon(server, asyncio.get_running_loop().time())
