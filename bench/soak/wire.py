"""A client's connection: bytes out, an answer or the events of a stream in. Cheap, and free to misbehave."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

ANSWERED_WITHIN_S = 30.0
LIMIT = 1 << 20
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
HEADERS = "Host: 127.0.0.1\r\nAccept: */*\r\n"


class Broken(Exception):
    """The server closed the connection in the middle of an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body."""

    status: int
    head: bytes
    body: bytes


def request(method: str, path: str, headers: Mapping[str, str], body: object = None) -> bytes:
    """The bytes of a request."""
    encoded = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if method == "POST":
        lines += f"Content-Type: application/json\r\nContent-Length: {len(encoded)}\r\n"
    return f"{method} {path} HTTP/1.1\r\n{HEADERS}{lines}\r\n".encode() + encoded


class Connection:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=LIMIT))

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed it."""
        return self._reader.at_eof() or self._writer.is_closing()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    async def head(self) -> tuple[int, bytes]:
        """The status and the head of an answer.

        Raises:
            Broken: the connection was closed before it.
            TimeoutError: it did not come in time.
        """
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, OSError) as error:
                raise Broken(repr(error)) from error
        return int(head[9:12]), head

    async def answer(self) -> Answer:
        """A whole answer. Raises as `head` does."""
        status, head = await self.head()
        found = LENGTH.search(head)
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            try:
                body = await self._reader.readexactly(int(found[1])) if found else b""
            except (asyncio.IncompleteReadError, OSError) as error:
                raise Broken(repr(error)) from error
        return Answer(status, head, body)

    async def events(self) -> AsyncIterator[tuple[str, str, bytes]]:
        """The id, the name and the data of each event of a stream whose head has been read. Raises as `head` does."""
        buffered = b""
        while True:
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                try:
                    size = int(await self._reader.readuntil(b"\r\n"), 16)
                    buffered += (await self._reader.readexactly(size + 2))[:-2]
                except (asyncio.IncompleteReadError, OSError) as error:
                    raise Broken(repr(error)) from error
            *blocks, buffered = buffered.split(b"\n\n")
            for block in blocks:
                if not block.startswith(b":"):
                    fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
                    yield fields[b"id"].decode(), fields[b"event"].decode(), fields[b"data"]
            if size == 0:
                return

    def close(self) -> None:
        """Abort the connection."""
        self._writer.transport.abort()
