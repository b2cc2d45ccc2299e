"""A server under test: the whole application behind uvicorn on a loopback port, and a client to talk to it."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from uvicorn.server import ServerState

from amrikyy.app import Application, create_app
from amrikyy.cli.serve import uvicorn_config
from amrikyy.runtime import Runtime
from amrikyy.settings import Settings

MakeSettings = Callable[..., Settings]

KEYS = {
    "user": "api_" + "1" * 32,
    "other": "api_" + "2" * 32,
    "premium": "api_" + "3" * 32,
    "admin": "api_" + "4" * 32,
}
VALID_API_KEYS = f"{KEYS['user']},{KEYS['other']}:premium,{KEYS['premium']}:premium,{KEYS['admin']}:admin"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class SSE:
    """One event of a stream."""

    id: str
    event: str
    data: Any

    @property
    def number(self) -> int:
        return int(self.id.rpartition(":")[2])


class Served:
    """A running server."""

    def __init__(self, url: str, app: Application, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.app = app
        self.http = http

    @property
    def runtime(self) -> Runtime:
        return self.app.runtime

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = "premium",
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Reply:
        """Send a request with the API key of that name (None: without a credential) and read the whole answer."""
        sent = {"x-api-key": KEYS[key]} if key else {}
        data: bytes | io.BytesIO | None = raw
        if body is not None:
            data = io.BytesIO(json.dumps(body).encode())
        if data is not None:
            sent["content-type"] = "application/json"
        async with self.http.request(method, self.url + path, data=data, headers={**sent, **(headers or {})}) as reply:
            return Reply(reply.status, reply.headers, await reply.read())

    async def stream(self, path: str, body: object, *, key: str = "premium", **headers: str) -> list[SSE]:
        """Read a whole stream. Headers are written `last_event_id="..."`."""
        async with self.open(path, body, key=key, **headers) as events:
            return [event async for event in events]

    @asynccontextmanager
    async def open(
        self, path: str, body: object = None, *, key: str = "premium", **headers: str
    ) -> AsyncIterator[AsyncIterator[SSE]]:
        """Open a stream, with GET if there is no body; leaving the block closes the connection."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | {"x-api-key": KEYS[key]}
        method = "GET" if body is None else "POST"
        async with self.http.request(method, self.url + path, json=body, headers=sent) as reply:
            assert reply.status == 200, await reply.text()
            assert reply.headers["content-type"].startswith("text/event-stream")
            try:
                yield events_of(reply)
            finally:
                reply.close()


async def events_of(reply: aiohttp.ClientResponse) -> AsyncIterator[SSE]:
    """Parse `text/event-stream`."""
    buffered = b""
    async for chunk in reply.content.iter_any():
        buffered += chunk
        *blocks, buffered = buffered.split(b"\n\n")
        for block in blocks:
            if block.startswith(b":"):
                continue
            fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
            yield SSE(fields.get(b"id", b"").decode(), fields[b"event"].decode(), json.loads(fields[b"data"]))
    assert buffered == b"", "the stream broke off in the middle of an event"


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[Served]:
    """Run the application until the block ends: uvicorn's protocol on a real socket, without its slow shutdown loop."""
    app = create_app(settings)
    config = uvicorn_config(app, settings)
    config.load()
    protocol: Any = config.http_protocol_class
    state = ServerState()
    loop = asyncio.get_running_loop()
    async with app.lifespan():
        listening = await loop.create_server(
            lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        port = listening.sockets[0].getsockname()[1]
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http:
                yield Served(f"http://127.0.0.1:{port}", app, http)
        finally:
            listening.close()
            for connection in list(state.connections):
                connection.shutdown()
            for task in list(state.tasks):
                task.cancel()
            await asyncio.gather(*state.tasks, return_exceptions=True)
