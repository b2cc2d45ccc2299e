"""The clients in examples/: they follow a run to its end over connections that break, and hear every refusal."""

import asyncio
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from tests.serving import KEYS, MakeSettings, serve

CLIENTS = Path(__file__).parents[2] / "examples" / "clients"
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # they know no SQL

BODY = {"topic": "Trains at night", "length": "short"}


@asynccontextmanager
async def breaking_line(port: int, *, breaks: int, after: int) -> AsyncIterator[str]:
    """A line to the server whose first connections break after so many bytes of the answer."""
    left = breaks

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        breaking, left = left > 0, left - 1
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        sending = asyncio.create_task(_pass_on(reader, to_server, None))
        try:
            await _pass_on(from_server, writer, after if breaking else None)
        finally:
            sending.cancel()
            for each in (writer, to_server):
                each.close()

    carrying: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrying.add(asyncio.create_task(carry(reader, writer)))

    line = await asyncio.start_server(connected, "127.0.0.1")
    try:
        yield f"http://127.0.0.1:{line.sockets[0].getsockname()[1]}"
    finally:
        line.close()
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None) -> None:
    with suppress(OSError):
        while (data := await reader.read(1024)) and (most is None or most > 0):
            writer.write(data)
            await writer.drain()
            most = None if most is None else most - len(data)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "httpx", httpx2)  # the same library by the name of its next version
    spec = importlib.util.spec_from_file_location("follow", CLIENTS / "follow.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def follow(client: ModuleType, base: str, operation: str, body: object, key: str) -> list[tuple[str, Any]]:
    with httpx2.Client(base_url=base, headers={"x-api-key": KEYS[key]}) as http:
        return list(client.follow(http, operation, body))


async def test_the_python_client_follows_one_run_to_its_end_over_a_line_that_breaks(
    client: ModuleType, make_settings: MakeSettings
) -> None:
    async with serve(make_settings(offline_tokens_per_s=2000, stream_grace_s=10)) as server:
        port = int(server.url.rpartition(":")[2])
        async with breaking_line(port, breaks=3, after=3000) as line:
            events = await asyncio.to_thread(follow, client, line, "content/generateBlogPost", BODY, "premium")
        assert events[0][0] == "connected"
        assert sum(event == "connected" for event, _ in events) == 1
        text = "".join(data["chunk"] for event, data in events if event == "token")
        assert text == events[-1][1]["result"]["text"]
        assert (await server.ask("GET", "/api/runs")).json["count"] == 1


async def test_the_python_client_raises_what_the_server_says(client: ModuleType, make_settings: MakeSettings) -> None:
    async with serve(make_settings()) as server:
        for operation, body, key, said in (
            ("content/generateBlogPost", {}, "premium", (400, "validation_failed")),
            ("content/generateBlogPost", BODY, "user", (403, "forbidden")),
            ("content/nothing", BODY, "premium", (404, "operation_not_found")),
        ):
            with pytest.raises(client.Refused) as refused:
                await asyncio.to_thread(follow, client, server.url, operation, body, key)
            assert (refused.value.status, refused.value.code) == said


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
async def test_the_javascript_client_follows_one_run_to_its_end_over_a_line_that_breaks(
    make_settings: MakeSettings,
) -> None:
    async with serve(make_settings(offline_tokens_per_s=2000, stream_grace_s=10)) as server:
        port = int(server.url.rpartition(":")[2])
        async with breaking_line(port, breaks=3, after=3000) as line:
            done = await asyncio.to_thread(
                subprocess.run,
                ["node", str(CLIENTS / "follow.mjs"), line, "content/generateBlogPost", json.dumps(BODY)],
                env={"AMRIKYY_KEY": KEYS["premium"]},
                executable=shutil.which("node"),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        [run] = (await server.ask("GET", "/api/runs")).json["runs"]
        kept = (await server.ask("GET", f"/api/runs/{run['id']}")).json["run"]
        assert done.stdout == kept["result"]["text"]
