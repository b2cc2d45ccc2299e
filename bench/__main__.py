"""`make bench`: microseconds of server CPU a request and a streamed token, beside a bare ASGI app in the same run.

CPU time of the server process is what is counted, so a slow client does not distort it. The machine's speed still
varies: the slices of all candidates alternate, and only ratios are worth comparing.
"""

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

KEY = "api_" + "b" * 32
SLICES = 5
CALLERS = 16
FLIGHTS = {"origin": "JFK", "destination": "LHR", "date": "2099-05-01"}
BLOG = {"topic": "AI in Travel", "length": "medium"}
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Candidate:
    """One kind of request to one server."""

    name: str
    unit: str
    server: "Server"
    call: "Callable[[aiohttp.ClientSession], Awaitable[int]]"
    calls: int
    cpu_us: list[float] = field(default_factory=list)


class Server:
    """A server in a process of its own."""

    def __init__(self, command: list[str], environment: dict[str, str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL)  # noqa: S603

    async def ready(self, http: aiohttp.ClientSession, path: str) -> None:
        """Wait until it answers."""
        for _ in range(200):
            try:
                async with http.get(self.url + path) as reply:
                    await reply.read()
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
        raise RuntimeError(f"{self.url} did not come up")

    @property
    def cpu_s(self) -> float:
        """CPU seconds used so far, user and system."""
        with open(f"/proc/{self._process.pid}/stat") as stat:  # noqa: PTH123
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=20)


async def measure(candidate: Candidate, http: aiohttp.ClientSession) -> None:
    """One slice: so many calls from so many callers."""
    remaining = candidate.calls
    units = 0

    async def caller() -> None:
        nonlocal remaining, units
        while remaining > 0:
            remaining -= 1
            done = await candidate.call(http)  # awaited first: `+=` would lose what others add meanwhile
            units += done

    before = candidate.server.cpu_s
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    candidate.cpu_us.append((candidate.server.cpu_s - before) * 1e6 / units)


def requests(method: str, url: str, body: object = None) -> Callable[[aiohttp.ClientSession], Awaitable[int]]:
    """A call that counts as one."""

    async def call(http: aiohttp.ClientSession) -> int:
        async with http.request(method, url, json=body, headers={"x-api-key": KEY}) as reply:
            assert reply.status == 200, await reply.text()
            await reply.read()
            return 1

    return call


def tokens(url: str, body: object) -> Callable[[aiohttp.ClientSession], Awaitable[int]]:
    """A stream that counts its tokens."""

    async def call(http: aiohttp.ClientSession) -> int:
        async with http.post(url, json=body, headers={"x-api-key": KEY}) as reply:
            assert reply.status == 200, await reply.text()
            return (await reply.read()).count(b"event: token\n")

    return call


async def main() -> None:
    """Measure and print."""
    ours_port, bare_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        ours = Server(
            [sys.executable, "-m", "amrikyy", "serve"],
            {"PHASE2_PORT": str(ours_port), "DATA_DIR": folder, "DATABASE_URL": f"sqlite:///{folder}/bench.db",
             "MODELS": "offline", "OFFLINE_TOKENS_PER_S": "0", "VALID_API_KEYS": f"{KEY}:premium", "APP_ENV": "test",
             "JWT_SECRET": "b" * 40},
            ours_port,
        )  # fmt: skip
        bare = Server(
            [sys.executable, "-m", "uvicorn", "bench.bare:app", "--port", str(bare_port), "--log-level", "warning"],
            {}, bare_port,
        )  # fmt: skip
        candidates = [
            Candidate("bare ASGI: GET", "request", bare, requests("GET", bare.url), 4000),
            Candidate("GET /api/agents/list", "request", ours, requests("GET", f"{ours.url}/api/agents/list"), 4000),
            Candidate("POST searchFlights (JSON)", "request", ours,
                      requests("POST", f"{ours.url}/api/agents/travel/searchFlights", FLIGHTS), 600),
            Candidate("bare ASGI: stream", "token", bare, tokens(f"{bare.url}/stream", {}), 100),
            Candidate("POST /api/stream/blog", "token", ours, tokens(f"{ours.url}/api/stream/blog", BLOG), 50),
        ]  # fmt: skip
        try:
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as http:
                await ours.ready(http, "/api/health/live")
                await bare.ready(http, "/")
                for candidate in candidates:
                    await measure(candidate, http)
                    candidate.cpu_us.clear()
                for _ in range(SLICES):
                    for candidate in candidates:
                        await measure(candidate, http)
        finally:
            ours.stop()
            bare.stop()
    report(candidates)


def report(candidates: list[Candidate]) -> None:
    """One table."""
    limits = {each.unit: statistics.median(each.cpu_us) for each in candidates if each.name.startswith("bare")}
    print(f"{'':32}{'CPU':>16}{'times bare ASGI':>18}")  # noqa: T201
    for each in candidates:
        middle = statistics.median(each.cpu_us)
        print(f"{each.name:32}{middle:>9.1f} us/{each.unit:<8}{middle / limits[each.unit]:>13.1f}")  # noqa: T201
    print(f"\n{time.strftime('%Y-%m-%d')}, median of {SLICES} alternating slices, {CALLERS} callers")  # noqa: T201


def free_port() -> int:
    """A port that nobody uses just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


asyncio.run(main())
