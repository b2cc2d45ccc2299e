"""The fixtures of the model tests: a model server, a session, and a client of each protocol."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from amrikyy.http_client import HttpClient
from amrikyy.llm.request import Client
from tests.llm.asking import Protocol, wire_client
from tests.model_server import ModelServer


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    http = HttpClient()
    yield http
    await http.close()


@pytest.fixture(params=["gemini", "openai"])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return cast("Protocol", request.param)


@pytest.fixture
def client(protocol: Protocol, server: ModelServer, http: HttpClient) -> Client:
    return wire_client(protocol, server.url, http)
