"""One HTTP exchange with a provider: with deadlines, split into events, and closed at once when it is left."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec

from amrikyy.errors import ModelMalformed, ModelUnreachable
from amrikyy.llm.deadlines import Clock

T = TypeVar("T")

MAX_EVENT_BYTES = 1_000_000
"""One upstream event; more is no token."""

MAX_BODY_BYTES = 8_000_000
"""A whole answer."""

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are not what they should be: garbage, another encoding, endless nesting."""

_encode = msgspec.json.Encoder().encode


class Exchange:
    """An answer that has begun: its status, its headers, and its body as it comes."""

    __slots__ = ("_response", "clock", "model")

    def __init__(self, response: aiohttp.ClientResponse, clock: Clock, model: str) -> None:
        self._response = response
        self.clock = clock
        self.model = model

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The HTTP headers."""
        return self._response.headers

    @property
    def content_type(self) -> str:
        """The media type, without its parameters."""
        return self._response.content_type

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            ModelTimeout, ModelUnreachable: it did not come, or broke off.
            ModelMalformed: it is larger than any answer.
        """
        chunks: list[bytes] = []
        size = 0
        while chunk := await self._read():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise ModelMalformed(
                    f"The model {self.model} sent more than {MAX_BODY_BYTES} bytes, which is no answer.",
                    model=self.model,
                )
            chunks.append(chunk)
        return b"".join(chunks)

    async def events(self) -> AsyncGenerator[list[bytes], None]:
        """The `data` of the events of a `text/event-stream`, those of one read together.

        Raises:
            ModelTimeout, ModelUnreachable: the next one did not come, or the stream broke off.
            ModelMalformed: one is larger than any token.
        """
        rest = b""
        while chunk := await self._read():
            rest += chunk
            # Three times as fast as splitting by a pattern that allows both kinds of line end.
            *blocks, rest = rest.replace(b"\r\n", b"\n").split(b"\n\n")
            if max(map(len, blocks), default=0) > MAX_EVENT_BYTES or len(rest) > MAX_EVENT_BYTES:
                raise ModelMalformed(
                    f"The model {self.model} sent an event of more than {MAX_EVENT_BYTES} bytes.", model=self.model
                )
            if found := [data for block in blocks if (data := _data(block))]:
                yield found
        if data := _data(rest):
            yield [data]

    async def _read(self) -> bytes:
        """What has come, at least a byte of it; nothing at the end."""
        try:
            # Only around the read: across a yield, the timeout would cancel whoever consumes the answer.
            async with asyncio.timeout_at(self.clock.wait()):
                chunk = await self._response.content.readany()
        except TimeoutError:
            raise self.clock.passed() from None
        except aiohttp.ClientError as error:
            raise ModelUnreachable(
                f"The connection to the model {self.model} broke off in the middle ({type(error).__name__}).",
                model=self.model,
            ) from None
        self.clock.waited()
        return chunk


@asynccontextmanager
async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: Any = None,
    connect_s: float,
    clock: Clock,
    model: str,
) -> AsyncIterator[Exchange]:
    """Send a request and give out its answer. Leaving the block closes the connection unless all was read.

    Raises:
        ModelTimeout, ModelUnreachable: there is no answer.
    """
    try:
        async with asyncio.timeout_at(clock.wait()):
            response = await session.request(
                method,
                url,
                data=None if body is None else _encode(body),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, connect=connect_s),
                allow_redirects=False,
            )
    except aiohttp.ConnectionTimeoutError:
        raise clock.not_connected() from None
    except TimeoutError:
        raise clock.passed() from None
    except (aiohttp.ClientError, OSError) as error:
        raise ModelUnreachable(
            f"The model {model} cannot be reached ({type(error).__name__}); check its base URL and the network.",
            model=model,
        ) from None
    clock.waited()
    try:
        yield Exchange(response, clock, model)
    finally:
        _hang_up(response)


def _hang_up(response: aiohttp.ClientResponse) -> None:
    """Let go of an answer.

    One that was read to its end has given its connection back already. Of any other the socket is closed now, so that
    the provider stops working for nobody; aborted, because a polite TLS farewell would wait for the other side.
    """
    connection = response.connection
    transport = connection.transport if connection is not None else None
    response.close()
    if transport is not None:
        transport.abort()


def decode(decoder: "msgspec.json.Decoder[T]", data: bytes, model: str) -> T:
    """Decode an event or a body.

    Raises:
        ModelMalformed: it is not what the protocol says.
    """
    try:
        return decoder.decode(data)
    except UNDECODABLE as error:
        what = "JSON that is not of its protocol" if isinstance(error, msgspec.ValidationError) else "no valid JSON"
        raise ModelMalformed(f"The model {model} sent {what}.", model=model) from None


def _data(block: bytes) -> bytes:
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]  # nearly all events
    lines = [line[5:].removeprefix(b" ") for line in block.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
