"""A model server as fast as Python allows: `python -m bench.model PORT`.

It speaks Gemini's protocol and, at `/v1/chat/completions`, OpenAI's. `GET /set?tokens=200&tokens_per_s=100` sets how it
streams from then on: how many tokens, and how many a second (0: all at once). Requests that do not stream are answered
at once, with flights if a Gemini request asks for JSON, else with prose.
"""

import asyncio
import gc
import json
import re
import socket
import sys
from collections.abc import Iterator
from typing import cast
from urllib.parse import parse_qsl

import uvloop

MODEL = "gemini-2.0-flash-exp"
WORDS = ("travel", "by", "night", "train", "is", "slow", "and", "quiet", "with", "a", "view", "of", "the", "coast")
PROMPT_TOKENS = 120

FLIGHTS = {
    "outbound": [
        {"airline": airline, "flightNumber": number, "departureTime": time, "pricePerPassenger": price, "stopovers": []}
        for airline, number, time, price in (
            ("British Airways", "BA 178", "08:05", 612.5),
            ("Virgin Atlantic", "VS 4", "18:30", 588.0),
            ("Delta Air Lines", "DL 1", "21:45", 540.0),
        )
    ]
}


def texts(count: int) -> Iterator[str]:
    """The tokens of an article: a title, then words."""
    yield "# Night trains\n\n"
    for number in range(1, count):
        yield f" {WORDS[number % len(WORDS)]}" if number % 50 else "\n\n"


def event(text: str, tokens: int, finish: str | None = None) -> bytes:
    """A response of Gemini's protocol: a whole answer, or a piece of a stream."""
    candidate: dict[str, object] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {
        "promptTokenCount": PROMPT_TOKENS,
        "candidatesTokenCount": tokens,
        "totalTokenCount": PROMPT_TOKENS + tokens,
    }
    return json.dumps(
        {"candidates": [candidate], "usageMetadata": usage, "modelVersion": MODEL, "responseId": "Zm9v"},
        separators=(",", ":"),
    ).encode()


def completion(text: str, finish: str | None = None, *, tokens: int | None = None, streamed: bool = True) -> bytes:
    """A response of OpenAI's protocol, or a chunk of a stream; with `tokens` it is the last chunk, or whole."""
    words = {"role": "assistant", "content": text}
    choice = {"index": 0, "delta" if streamed else "message": words, "finish_reason": finish}
    answer: dict[str, object] = {
        "id": "chatcmpl-bench", "object": "chat.completion.chunk" if streamed else "chat.completion",
        "created": 1_700_000_000, "model": MODEL, "choices": [] if streamed and tokens else [choice],
    }  # fmt: skip
    if tokens:
        total = PROMPT_TOKENS + tokens
        answer["usage"] = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": total}
    return json.dumps(answer, separators=(",", ":")).encode()


def response(body: bytes) -> bytes:
    """A whole HTTP response."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
OBJECT = response(event(json.dumps(FLIGHTS), 180, "STOP"))
PROSE = response(event("".join(texts(200)), 200, "STOP"))
COMPLETION = response(completion("".join(texts(200)), "stop", tokens=200, streamed=False))
OK = response(b"{}")
STREAM = re.compile(rb'"stream" ?: ?true')


class Streamed:
    """An answer as it goes over the wire: whole, and in pieces."""

    def __init__(self, events: list[bytes], end: bytes) -> None:
        self.whole = HEAD + chunk(b"".join([*events, end])) + LAST
        self.pieces = [HEAD + chunk(events[0]), *map(chunk, events[1:]), chunk(end) + LAST]


class Manner:
    """How answers are streamed; everything is encoded beforehand."""

    def __init__(self, tokens: int = 200, tokens_per_s: float = 0) -> None:
        self.pause_s = 1 / tokens_per_s if tokens_per_s else 0
        events = [b"data: " + event(text, count) + b"\r\n\r\n" for count, text in enumerate(texts(tokens), 1)]
        self.gemini = Streamed(events, b"data: " + event("", tokens, "STOP") + b"\r\n\r\n")
        events = [b"data: " + completion(text) + b"\n\n" for text in texts(tokens)]
        last = (completion("", "stop"), completion("", tokens=tokens), b"[DONE]")
        self.openai = Streamed(events, b"".join(b"data: %b\n\n" % each for each in last))


class Connection(asyncio.Protocol):
    """One connection: requests one after another."""

    manner = Manner()

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it

    def connection_lost(self, _: Exception | None) -> None:
        """Stop writing."""
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer as soon as the request is complete."""
        self._received = received = self._received + data
        head_ends = received.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        head = received[:head_ends].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(received) < head_ends + 4 + length:
            return
        self._received = b""
        self._answer(received[: received.index(b"\r\n")], received[head_ends:])

    def _answer(self, line: bytes, body: bytes) -> None:
        if b":streamGenerateContent" in line:
            self._stream(self.manner.gemini)
        elif b":generateContent" in line:
            self._transport.write(OBJECT if b"responseMimeType" in body else PROSE)
        elif line.startswith(b"POST /v1/chat/completions"):
            if STREAM.search(body):
                self._stream(self.manner.openai)
            else:
                self._transport.write(COMPLETION)
        else:
            if line.startswith(b"GET /set?"):
                asked = dict(parse_qsl(line.split()[1].decode().partition("?")[2]))
                Connection.manner = Manner(int(asked["tokens"]), float(asked["tokens_per_s"]))
            self._transport.write(OK)

    def _stream(self, answer: Streamed) -> None:
        if self.manner.pause_s:
            self._pace(answer.pieces, self.manner.pause_s, 0, self._loop.time())
        else:
            self._transport.write(answer.whole)

    def _pace(self, pieces: list[bytes], pause_s: float, number: int, began: float) -> None:
        self._transport.write(pieces[number])
        number += 1
        if number < len(pieces):
            at = began + number * pause_s  # counted from the beginning, so that a late timer delays one token only
            self._timer = self._loop.call_at(at, self._pace, pieces, pause_s, number, began)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=8192)
    for listening in server.sockets:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    gc.freeze()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
