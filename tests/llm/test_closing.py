"""Nobody pays for an answer that nobody reads: leaving a call closes the provider's connection at once."""

import asyncio

import pytest

from amrikyy.http_client import HttpClient
from amrikyy.llm.breaker import Breaker
from amrikyy.llm.chain import ModelChain
from amrikyy.llm.request import Client, Request, Usage
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
async def test_a_listener_that_fails_closes_the_connection(asked: Client, server: ModelServer, does: Behaviour) -> None:
    server.script.append(does)

    def emit(item: list[str] | Usage) -> None:
        if isinstance(item, list):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asked.stream(Request(prompt="x"), emit)
    await closes_soon(server, asyncio.get_running_loop().time())


async def test_giving_up_before_the_headers_closes_the_connection(asked: Client, server: ModelServer) -> None:
    server.script.append(BEFORE_HEADERS)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(attempt(asked), 0.1)
    await closes_soon(server, asyncio.get_running_loop().time())


async def test_cancelling_many_calls_leaves_no_connection_open(
    client: Client, server: ModelServer, http: HttpClient
) -> None:
    server.rule = lambda _: BETWEEN_TOKENS
    reading = [asyncio.create_task(attempt(client)) for _ in range(30)]
    await until(lambda: len(server.requests) == 30 and all(each.began.is_set() for each in server.requests))
    for each in reading:
        each.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    await until(lambda: all(each.closed.is_set() for each in server.requests), WITHIN_S)
    await until(lambda: http.busy == 0)
