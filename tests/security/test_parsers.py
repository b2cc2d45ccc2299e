"""API10, unsafe consumption of APIs: any bytes from outside end in a value or in the error that is named for it."""

import json
import math
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from amrikyy.auth import Tokens
from amrikyy.errors import ModelError, Unauthenticated
from amrikyy.http_client import HttpClient, Patience
from amrikyy.http_client.connection import Connection, Head, HttpFailure, Receiver
from amrikyy.http_client.request import Origin
from amrikyy.llm.client import WireClient
from amrikyy.llm.gemini import GeminiClient
from amrikyy.llm.openai import OpenAIClient
from amrikyy.llm.request import Request, Usage
from amrikyy.llm.wire import Events
from amrikyy.ratelimit.addresses import Networks, client_address
from amrikyy.runs.events import Delta
from amrikyy.runs.partial import Fold

SECRET = "top-secret-key-0123456789"

FUZZ = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
lines = st.sampled_from([b"data: ", b"data:", b"data: {}", b": ping", b"event: x", b"\n", b"\n\n", b"\r\n", b"\r\n\r\n",
                         b"\r", b"\xff", b"\x00", b"data: [DONE]", b'{"a":1}'])  # fmt: skip
streams = st.lists(lines | st.binary(max_size=6), max_size=20).map(b"".join)


@FUZZ
@given(streams, st.lists(st.integers(min_value=0, max_value=200), max_size=8))
def test_events_are_the_same_however_the_network_cuts_them(stream: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    whole, cut = Events("m"), Events("m")
    at_once = [*whole.feed(stream), *whole.end()]
    in_pieces = [event for start, end in pairwise(places) for event in cut.feed(stream[start:end])]
    assert [*in_pieces, *cut.end()] == at_once


NAMES = st.sampled_from(["candidates", "choices", "error", "usageMetadata", "usage", "content", "delta", "parts"])
ALMOST = st.dictionaries(
    NAMES, json_values | st.lists(st.dictionaries(NAMES, json_values, max_size=3), max_size=2), max_size=4
)
"""What looks like a provider's answer, with something wrong somewhere."""


class Answering(HttpClient):
    """Has an answer for every request at once."""

    head = Head(200, {})
    body = b""

    async def exchange(self, method: str, url: str, receiver: Receiver, **_: Any) -> None:
        receiver.head(self.head)
        receiver.data(self.body)


@pytest.mark.parametrize(
    ("media_type", "event"), [(b"application/json", b"%b"), (b"text/event-stream", b"data: %b\n\n")]
)
async def test_whatever_a_model_answers_is_text_or_a_model_s_error(media_type: bytes, event: bytes) -> None:
    http = Answering()
    http.head = Head(200, {b"content-type": media_type})
    clients: list[WireClient] = [GeminiClient("m", SECRET, http=http), OpenAIClient("m", SECRET, http=http)]
    asked = Request(prompt="Hello", max_output_tokens=100)

    def emitted(piece: Any) -> None:
        assert isinstance(piece, Usage) or all(isinstance(each, str) for each in piece)

    @FUZZ
    @given(ALMOST.map(lambda answer: json.dumps(answer).encode()) | st.binary(max_size=60))
    def read(data: bytes) -> None:
        http.body = event % data
        for client in clients:
            with suppress(ModelError, StopIteration):  # it waits for nothing: it ends, or fails
                client.stream(asked, emitted).send(None)

    read()
    await http.close()


class Trip(BaseModel):
    """Something that streams."""

    title: str
    days: list[dict[str, str]] = []
    price: float | None = None


@FUZZ
@given(
    st.lists(
        st.text(max_size=6) | st.sampled_from(['{"title": "', '", "days": [', "{", "[", '"', "\\u", "1e", "]}"]),
        max_size=15,
    )
)
def test_any_text_of_a_model_folds_into_a_partial_object(pieces: list[str]) -> None:
    fold = Fold(Trip)
    for piece in pieces:
        fold.feed(Delta(piece))
        assert fold.encoded().startswith(b"{")


@FUZZ
@given(
    st.text(max_size=60)
    | st.sampled_from(["1.2.3.4", "::1", "[::1]:80", "10.0.0.1, 1.1.1.1", "::ffff:10.0.0.1", "fe80::1%eth0"])
)
def test_any_forwarded_address_gives_an_address_and_never_one_from_a_stranger(forwarded: str) -> None:
    trusted = Networks("TRUSTED_PROXIES", ["10.0.0.0/8"])
    assert client_address("10.0.0.1", forwarded, trusted)
    assert client_address("192.0.2.1", forwarded, trusted) == "192.0.2.1"


@FUZZ
@given(st.text(max_size=80) | st.lists(st.text("eyJ.-_=", max_size=10), min_size=3, max_size=3).map(".".join))
def test_any_text_is_no_token(text: str) -> None:
    with pytest.raises(Unauthenticated):
        Tokens("s" * 40).verify(text)


class Nobody:
    """Takes an answer and forgets it."""

    def head(self, head: Head) -> None:
        """The head came."""

    def data(self, data: bytes) -> None:
        """A piece of the body came."""


class Endless(Patience):
    """Never ends."""

    def passed(self) -> Exception:
        """It has ended after all."""
        return AssertionError()


class Wire:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None:
        """Nowhere."""

    def abort(self) -> None:
        """It is closed."""
        self.closed = True

    close = abort

    def is_closing(self) -> bool:
        """Whether it is."""
        return self.closed

    def pause_reading(self) -> None:
        """Nothing is read."""

    resume_reading = pause_reading


HTTP = st.lists(
    st.binary(max_size=8)
    | st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n",
                       b"\r\n", b"5\r\n", b"hello", b"0\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
                       b"content-length: -1\r\n", b"x: \xff\r\n", b"HTTP/9.9 999 \r\n", b"f" * 18 + b"\r\n"]),
    max_size=10,
)  # fmt: skip


async def test_whatever_a_server_answers_is_an_answer_or_a_failure_of_http() -> None:
    @FUZZ
    @given(HTTP)
    def receive(pieces: list[bytes]) -> None:
        connection = Connection(Origin("127.0.0.1", 80, tls=False), lambda _: None, lambda _: None)
        transport: Any = Wire()
        connection.connection_made(transport)
        done = connection.send(b"GET / HTTP/1.1\r\n\r\n", Nobody(), Endless(math.inf))
        for piece in pieces:
            if not transport.closed:
                connection.data_received(piece)
        connection.connection_lost(None)
        assert done.done(), "whoever waits would wait for ever"
        error = done.exception()
        assert error is None or isinstance(error, HttpFailure)

    receive()
