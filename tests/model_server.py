"""A real HTTP server that speaks Gemini's REST API and OpenAI's chat completions, and misbehaves as it is told to.

In a test::

    async with ModelServer() as server:
        server.script.append(Behaviour(status=429, headers={"Retry-After": "1"}))  # the next request's only
        ...
        assert server.requests[0].json["contents"]

By hand: `python -m tests.model_server --port 4010 --tokens-per-s 50`.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import TracebackType
from typing import Any, Literal

from aiohttp import web

PIECES = re.compile(r"\s*\S{1,12}|\s+")
KEEP_ALIVE_S = 0.01
POLL_S = 0.004

PROSE = """# A short guide to tidal harbours

A tidal harbour is one that **fills and empties** with the sea, so that everything in it has two lives: afloat for \
some hours, and aground for the rest. Its people plan by the table of tides before they plan by the clock.

## What to look at first

- The *sill*: how much water stands over it, and when.
- The holding ground, because mud forgives and rock does not.
- The way out at half tide, which is seldom the way in.

The numbers matter less than their order. A boat that draws 1.8 m and waits for 2.3 m leaves later than it could, \
and always leaves; `depth - draught` is the only sum that has to be right.

## What to do with it

1. Read the table the evening before.
2. Write down the two times between which you may pass.
3. Pass in the first half of them, on a rising tide.

Nothing else about tidal harbours is urgent, and nearly everything else is beautiful.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What the server does with one request. Without arguments: a good answer.

    Attributes:
        status: the HTTP status; anything but 200 is answered with `body`.
        body: sent as is (str, bytes) or as JSON, instead of an answer.
        headers: added to the response's.
        pieces: the answer's text, piece by piece; None for the server's own answer.
        pause_s: seconds of silence before each piece but the first; None for the server's `tokens_per_s`.
        before_s: seconds before the status line.
        hang_after: after this many pieces, send nothing more and never end (0: after the headers).
        keep_alive_comments: send an SSE comment every 10 ms while silent.
        thoughts: this many pieces of thinking before the answer, each after `pause_s`.
        cut: close the socket after the pieces, in the middle of the body.
        reset: reset the connection (RST) there instead.
        garbage: bytes that follow the pieces in the body, and end it.
        raw: bytes written to the socket instead of an HTTP response, which then closes.
        error_in_stream: sent as `{"error": ...}` after the pieces; the body ends properly.
        finish: the finish reason; None for the protocol's normal one, "" for none at all.
        usage: report the tokens.
        block: refuse the prompt (Gemini's blockReason; a `refusal` in OpenAI's message).
        done: end OpenAI's stream with `[DONE]`.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Sequence[str] | None = None
    pause_s: float | None = None
    before_s: float = 0
    hang_after: int | None = None
    keep_alive_comments: bool = False
    thoughts: int = 0
    cut: bool = False
    reset: bool = False
    garbage: bytes = b""
    raw: bytes = b""
    error_in_stream: Any = None
    finish: str | None = None
    usage: bool = True
    block: str = ""
    done: bool = True


@dataclass(eq=False, slots=True, kw_only=True)
class Recorded:
    """A request that the server received.

    Attributes:
        connection: which of the server's connections it came on, from 0.
        began: set when the answer's headers are out.
        closed: set when the connection was closed, by whichever side.
        closed_at: the loop time of that.
        finished: whether the answer was sent to its end.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    json: Any
    connection: int
    began: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    closed_at: float | None = None
    finished: bool = False


class ModelServer:
    """The server, on a free port of 127.0.0.1 unless told otherwise.

    Attributes:
        url: `http://127.0.0.1:port`; OpenAI clients want `/v1` behind it (`openai_url`).
        requests: the requests received, in order.
        script: behaviours, one used per POST that arrives.
        rule: asked for a behaviour when the script is empty; None means a good answer.
        tokens_per_s: the rate of answers; 0 sends them at once.
        closed: set when any request's connection has closed; see `Recorded.closed` for one request's.
        closed_at: the loop time at which one last closed.
    """

    def __init__(self, *, port: int = 0, tokens_per_s: float = 0) -> None:
        self.url = ""
        self.requests: list[Recorded] = []
        self.script: deque[Behaviour] = deque()
        self.rule: Callable[[Recorded], Behaviour | None] = lambda _: None
        self.tokens_per_s = tokens_per_s
        self.closed = asyncio.Event()
        self.closed_at: float | None = None
        self._port = port
        self._connections: dict[asyncio.BaseTransport, list[Recorded]] = {}
        self._accepted = 0
        self._numbers: dict[asyncio.BaseTransport, int] = {}

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def posts(self) -> list[Recorded]:
        return [each for each in self.requests if each.method == "POST"]

    async def __aenter__(self) -> "ModelServer":
        app = web.Application(client_max_size=64_000_000)
        app.router.add_post("/v1beta/models/{call:.+}", self._gemini)
        app.router.add_get("/v1beta/models/{model:.+}", self._describe)
        app.router.add_post("/v1/chat/completions", self._openai)
        app.router.add_get("/v1/models", self._list)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=2048)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._poller = asyncio.create_task(self._poll())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._poller.cancel()
        await asyncio.gather(self._poller, return_exceptions=True)
        for transport in self._connections:
            transport.close()
        self._notice()  # ends the answers that hang
        await self._runner.cleanup()

    # --- The two protocols ---------------------------------------------------------------------------

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        method = request.match_info["call"].rpartition(":")[2]
        if method not in ("generateContent", "streamGenerateContent"):
            return web.json_response(
                {"error": {"code": 404, "message": "unknown method", "status": "NOT_FOUND"}}, status=404
            )
        config = recorded.json.get("generationConfig", {})
        protocol = _Gemini(recorded.json)
        streaming = method.startswith("stream")
        return await self._answer(request, recorded, protocol, config.get("responseJsonSchema"), streaming=streaming)

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        form = recorded.json.get("response_format", {})
        schema = form.get("json_schema", {}).get("schema") or _schema_in(recorded.json["messages"][-1]["content"])
        streaming = bool(recorded.json.get("stream"))
        return await self._answer(request, recorded, _OpenAI(recorded.json), schema, streaming=streaming)

    async def _describe(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        return await self._plain(request, recorded, {"name": f"models/{request.match_info['model']}"})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        recorded = await self._record(request)
        return await self._plain(request, recorded, {"object": "list", "data": [{"id": "test", "object": "model"}]})

    # --- One exchange --------------------------------------------------------------------------------

    async def _record(self, request: web.Request) -> Recorded:
        transport = request.transport
        assert transport is not None
        if transport not in self._numbers:
            self._numbers[transport] = self._accepted
            self._accepted += 1
        body = await request.read()
        recorded = Recorded(
            method=request.method, path=request.path, query=request.query_string, headers=request.headers.copy(),
            json=json.loads(body) if body else None, connection=self._numbers[transport],
        )  # fmt: skip
        self.requests.append(recorded)
        self._connections.setdefault(transport, []).append(recorded)
        return recorded

    async def _poll(self) -> None:
        while True:
            self._notice()
            await asyncio.sleep(POLL_S)

    def _notice(self) -> None:
        now = asyncio.get_running_loop().time()
        for transport in [each for each in self._connections if each.is_closing()]:
            for recorded in self._connections.pop(transport):
                recorded.closed_at = self.closed_at = now
                recorded.closed.set()
            self._numbers.pop(transport, None)
            self.closed.set()

    def _behaviour(self, recorded: Recorded) -> Behaviour:
        return self.script.popleft() if self.script else self.rule(recorded) or Behaviour()

    async def _plain(self, request: web.Request, recorded: Recorded, default: Any) -> web.StreamResponse:
        does = self._behaviour(recorded)
        if does.before_s:
            await _silence(recorded, does.before_s)
        if does.raw:
            return await self._raw(request, does.raw)
        body = default if does.body is None else does.body
        return self._whole(recorded, does, body)

    def _whole(self, recorded: Recorded, does: Behaviour, body: Any) -> web.Response:
        content = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else _encode(body)
        recorded.finished = True
        recorded.began.set()
        return web.Response(
            status=does.status, body=content, headers={"Content-Type": "application/json", **does.headers}
        )

    async def _raw(self, request: web.Request, raw: bytes) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        transport.write(raw)
        transport.close()
        return web.Response()

    async def _answer(
        self, request: web.Request, recorded: Recorded, protocol: "_Gemini | _OpenAI", schema: Any, *, streaming: bool
    ) -> web.StreamResponse:
        does = self._behaviour(recorded)
        if does.before_s:
            await _silence(recorded, does.before_s)
        if does.raw:
            return await self._raw(request, does.raw)
        if does.body is not None or does.status != 200:
            return self._whole(recorded, does, {} if does.body is None else does.body)
        pieces = does.pieces
        if pieces is None:
            pieces = PIECES.findall(json.dumps(instance(schema)) if schema else PROSE)
        if streaming:
            return await self._stream(request, recorded, does, protocol, pieces)
        if does.pause_s is None and self.tokens_per_s:
            await _silence(recorded, len(pieces) / self.tokens_per_s)
        whole = _encode(protocol.whole("".join(pieces), len(pieces), does))
        if not (does.cut or does.reset or does.garbage or does.hang_after is not None):
            return self._whole(recorded, does, whole)
        response = web.StreamResponse(headers={"Content-Type": "application/json", **does.headers})
        await response.prepare(request)
        recorded.began.set()
        await response.write(whole[: len(whole) // 2] + does.garbage)
        if does.hang_after is not None:
            await recorded.closed.wait()
        elif does.cut or does.reset:
            await self._break(request, reset=does.reset)
        return response

    async def _stream(
        self,
        request: web.Request,
        recorded: Recorded,
        does: Behaviour,
        protocol: "_Gemini | _OpenAI",
        pieces: Sequence[str],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **does.headers})
        await response.prepare(request)
        recorded.began.set()
        end = protocol.event_end
        try:
            if does.block:
                await response.write(b"data: " + _encode(protocol.blocked(does.block)) + end)
                return response
            events = [protocol.thought()] * does.thoughts + [protocol.piece(piece, does) for piece in pieces]
            await self._pieces(response, recorded, does, events, end)
            if does.hang_after is not None:
                await self._pause(response, recorded, does, None)
                return response
            if does.cut or does.reset:
                await self._break(request, reset=does.reset)
                return response
            if does.garbage:
                await response.write(does.garbage)
                return response
            if does.error_in_stream is not None:
                await response.write(b"data: " + _encode({"error": does.error_in_stream}) + end)
                return response
            last = b"".join(b"data: " + event + end for event in protocol.last(len(pieces), does))
            await response.write(last)
            await response.write_eof()
            recorded.finished = True
        except ConnectionError:
            pass
        return response

    async def _pieces(
        self, response: web.StreamResponse, recorded: Recorded, does: Behaviour, events: Sequence[bytes], end: bytes
    ) -> None:
        pause_s = does.pause_s
        if pause_s is None and self.tokens_per_s:
            pause_s = 1 / self.tokens_per_s
        sent = [b"data: " + event + end for event in events[: does.hang_after]]
        if not pause_s:
            await response.write(b"".join(sent))
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, event in enumerate(sent):
            # Counted from the beginning, so that late timers do not slow the stream down.
            if (ahead := number * pause_s - (loop.time() - began)) > 0:
                await self._pause(response, recorded, does, ahead)
            await response.write(event)

    async def _pause(
        self, response: web.StreamResponse, recorded: Recorded, does: Behaviour, seconds: float | None
    ) -> None:
        """Send nothing for `seconds`, or forever if None; ends when the client disconnects."""
        if not does.keep_alive_comments:
            await _silence(recorded, seconds)
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + (3600 if seconds is None else seconds)
        while loop.time() < end and not recorded.closed.is_set():
            await response.write(b": keep-alive\n\n")
            await _silence(recorded, min(KEEP_ALIVE_S, max(0.0, end - loop.time())))

    async def _break(self, request: web.Request, *, reset: bool) -> None:
        transport = request.transport
        assert transport is not None
        await asyncio.sleep(0.02)  # so that what was written arrives first
        if reset:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


class _Gemini:
    event_end = b"\r\n\r\n"

    def __init__(self, asked: Any) -> None:
        self._prompt = len(json.dumps(asked)) // 4

    def piece(self, text: str, does: Behaviour) -> bytes:
        return _encode(self._event([{"text": text}], 1, usage=does.usage))

    def thought(self) -> bytes:
        return _encode(self._event([{"text": "Let me think.", "thought": True}], 0, usage=False))

    def last(self, count: int, does: Behaviour) -> list[bytes]:
        finish = "STOP" if does.finish is None else does.finish
        return [_encode(self._event([{"text": ""}], count, usage=does.usage, finish=finish))] if finish else []

    def whole(self, text: str, count: int, does: Behaviour) -> Any:
        if does.block:
            return self.blocked(does.block)
        finish = "STOP" if does.finish is None else does.finish
        return self._event([{"text": text}], count, usage=does.usage, finish=finish)

    def blocked(self, reason: str) -> Any:
        return {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": self._prompt}}

    def _event(self, parts: list[Any], count: int, *, usage: bool, finish: str = "") -> Any:
        candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        event: dict[str, Any] = {"candidates": [candidate], "modelVersion": "test", "responseId": "r1"}
        if usage:
            event["usageMetadata"] = {
                "promptTokenCount": self._prompt,
                "candidatesTokenCount": count,
                "totalTokenCount": self._prompt + count,
            }
        return event


class _OpenAI:
    event_end = b"\n\n"

    def __init__(self, asked: Any) -> None:
        self._prompt = len(json.dumps(asked["messages"])) // 4
        self._with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        self._model = asked["model"]

    def piece(self, text: str, _: Behaviour) -> bytes:
        return _encode(self._chunk({"content": text}))

    def thought(self) -> bytes:
        return _encode(self._chunk({"reasoning_content": "Let me think."}))

    def last(self, count: int, does: Behaviour) -> list[bytes]:
        finish = "stop" if does.finish is None else does.finish
        events = [_encode(self._chunk({}, finish))] if finish else []
        if does.usage and self._with_usage:
            events.append(_encode({"object": "chat.completion.chunk", "choices": [], "usage": self._usage(count)}))
        return [*events, b"[DONE]"] if does.done else events

    def whole(self, text: str, count: int, does: Behaviour) -> Any:
        finish = "stop" if does.finish is None else does.finish
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if does.block:
            message = {"role": "assistant", "content": None, "refusal": does.block}
        answer: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": self._model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish or None}],
        }
        return answer | ({"usage": self._usage(count)} if does.usage else {})

    def blocked(self, reason: str) -> Any:
        return self._chunk({"refusal": reason})

    def _chunk(self, delta: Any, finish: str | None = None) -> Any:
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "model": self._model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }

    def _usage(self, count: int) -> Any:
        return {"prompt_tokens": self._prompt, "completion_tokens": count, "total_tokens": self._prompt + count}


async def _silence(recorded: Recorded, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await recorded.closed.wait()
    except TimeoutError:
        pass


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _schema_in(prompt: str) -> Any:
    """The JSON schema at the end of a prompt that asks for an object valid for it."""
    _, said, rest = prompt.rpartition("JSON schema")
    begin = rest.find("{")
    if not said or begin < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(rest[begin:])[0]
    except ValueError:
        return None


def instance(schema: Mapping[str, Any], seed: int = 0) -> Any:
    """A JSON value that is valid for the schema, of which only the keywords that providers honour are read."""
    return _Instance(schema.get("$defs", {}), random.Random(seed)).of("", schema, 0)


class _Instance:
    def __init__(self, definitions: Mapping[str, Any], chance: random.Random) -> None:
        self._definitions = definitions
        self._chance = chance

    def of(self, name: str, schema: Mapping[str, Any], depth: int) -> Any:
        if reference := schema.get("$ref"):
            schema = self._definitions[reference.rpartition("/")[2]]
        if "enum" in schema:
            return self._chance.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        if options := schema.get("anyOf"):
            deep = [each for each in options if each.get("type") in ("null", "string", "integer", "number", "boolean")]
            return self.of(name, (deep or options)[0] if depth > 6 else options[0], depth + 1)
        kind = schema.get("type")
        if kind == "object":
            return {key: self.of(key, value, depth + 1) for key, value in schema.get("properties", {}).items()}
        if kind == "array":
            least, most = schema.get("minItems", 0), schema.get("maxItems", 1000)
            count = least if depth > 6 else max(least, min(2, most))
            return [self.of(name, schema.get("items", {"type": "string"}), depth + 1) for _ in range(count)]
        return self._scalar(name, kind, schema)

    def _scalar(self, name: str, kind: Any, schema: Mapping[str, Any]) -> Any:
        if kind in ("integer", "number"):
            least = schema.get("minimum", min(1, schema.get("maximum", 1)))
            most = schema.get("maximum", least + 10)
            value = least + (most - least) * self._chance.uniform(0.1, 0.9)  # inside even exclusive bounds
            return (
                -(-value // 1)
                if kind == "number" and -(-value // 1) < most
                else int(value)
                if kind == "integer"
                else value
            )
        if kind == "boolean":
            return self._chance.random() < 0.5
        if kind == "null":
            return None
        form: Literal["date", "time", "date-time"] | None = schema.get("format")
        if form == "date":
            return (date.today() + timedelta(days=30)).isoformat()  # noqa: DTZ011 - any day soon
        if form == "time":
            return "09:30:00"
        if form == "date-time":
            return f"{date.today() + timedelta(days=30)}T09:30:00Z"  # noqa: DTZ011 - any day soon
        words = PROSE.split()
        start = self._chance.randrange(20, len(words) - 8)
        return f"{name or 'text'}: {' '.join(words[start : start + 8])}"


async def _serve(port: int, tokens_per_s: float) -> None:
    async with ModelServer(port=port, tokens_per_s=tokens_per_s) as server:
        print(  # noqa: T201 - for whoever started it
            f"A model server of no intelligence listens on {server.url} ({tokens_per_s:g} tokens/s). Use it with:\n"
            f"  GEMINI_API_KEY=test GEMINI_BASE_URL={server.url} amrikyy serve\n"
            f"  MODELS=openai:test OPENAI_BASE_URL={server.openai_url} amrikyy serve\n"
            f"  MODELS=ollama:test OLLAMA_BASE_URL={server.openai_url} amrikyy serve\n"
            "Ctrl-C ends it.",
            flush=True,
        )
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A model server for trying and testing, on both protocols.")
    parser.add_argument("--port", type=int, default=4010)
    parser.add_argument("--tokens-per-s", type=float, default=50, help="0 sends answers at once")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.port, arguments.tokens_per_s))


if __name__ == "__main__":
    main()
