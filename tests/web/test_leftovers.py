"""What is over leaves nothing for the garbage collector, which would need seconds for it after some minutes of work."""

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from amrikyy.web.exchange import Exchange
from amrikyy.web.protocol import Cycle, Protocol
from tests.serving import KEYS, MakeSettings, Served, serve

JSON = "/api/agents/content/generateBlogPost"
STREAM = "/api/stream/blog"
BODY = {"topic": "Night trains", "length": "short"}


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def living() -> Counter[str]:
    """What connections and requests are made of, as far as it is in memory."""
    kinds = (Exchange, Cycle, Protocol)
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))


async def leave(server: Served, path: str, body: object, *, key: str, after: int = 1) -> bytes:
    """Send a request on a connection of its own, read so many times, and reset the connection."""
    encoded = json.dumps(body).encode()
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n"
    writer.write(f"{head}content-length: {len(encoded)}\r\n\r\n".encode() + encoded)
    said = b"".join([await reader.read(65536) for _ in range(after)])
    writer.transport.abort()
    return said


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("path", "body", "key", "status"),
    [
        (JSON, BODY, KEYS["user"], b"200"),
        (JSON, {"topic": 7}, KEYS["user"], b"400"),
        (JSON, BODY, "api_" + "0" * 32, b"401"),
        ("/api/nowhere", BODY, KEYS["user"], b"404"),
        (JSON, {"topic": "x" * 1_100_000}, KEYS["user"], b"413"),
        (STREAM, BODY, KEYS["premium"], b"200"),
    ],
)
async def test_a_connection_that_has_ended_is_let_go_of_at_once(
    make_settings: MakeSettings, path: str, body: object, key: str, status: bytes
) -> None:
    before = living()  # of tests that came before this one
    async with serve(make_settings(offline_tokens_per_s=200)) as server:
        for _ in range(3):
            said = await leave(server, path, body, key=key)
            assert said.split()[1] == status
        for _ in range(100):
            if not (left := living() - before):
                break
            await asyncio.sleep(0.02)
    assert not left


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_finished_run_that_is_kept_keeps_no_task(make_settings: MakeSettings) -> None:
    async with serve(make_settings()) as server:
        for number in range(5):
            events = await server.stream(STREAM, {**BODY, "topic": f"Night trains {number}"})
            assert server.runtime.live.get(events[-1].id.partition(":")[0]) is not None
        tasks = [each.get_name() for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    assert not [name for name in tasks if name.startswith("run_")]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_finished_run_without_a_stream_is_kept_in_the_database_alone(make_settings: MakeSettings) -> None:
    async with serve(make_settings()) as server:
        run_id = (await server.ask("POST", JSON, BODY)).json["runId"]
        recorded = await server.ask("GET", f"/api/runs/{run_id}")
        await server.runtime.records.flush()
        assert server.runtime.live.get(run_id) is None
        again = await server.ask("GET", f"/api/runs/{run_id}")
        first, last = await server.stream(f"/api/stream/{run_id}", None)
        assert (first.event, last.event, last.number) == ("connected", "complete", 2)
        assert last.data["result"] == recorded.json["run"]["result"]
    assert again.json == recorded.json
