"""As many open streams as the descriptor limit allows: the memory of each, and how regularly their tokens come."""

import asyncio
import resource
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from bench.calls import BLOG_STREAM
from bench.candidates import Running, amrikyy, start
from bench.ladder.section import Section
from bench.load import OUR_MARKS, Requests, WrongAnswer, put_load
from bench.measure import OPENING, set_manner
from bench.scenarios import TOKENS
from bench.summary import quantile

RELAYED = (1000, 5000, 9000)
"""How many streams are opened; each takes two descriptors in the server: the caller's and the model's."""

OFFLINE = (1000, 5000, 10_000)
"""How many streams are opened; each takes one descriptor."""

USUAL = 1024

LONG = 600
"""Tokens of a stream, at one a second: none ends while it is watched."""


class _Watcher(asyncio.Protocol):
    """A stream that is only watched."""

    def __init__(self, gaps_s: "array[float]") -> None:
        self._gaps_s = gaps_s
        self._last = 0.0
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.why = ""
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection broke off: {error}")

    def data_received(self, data: bytes) -> None:
        if not self.began.done():
            self._head += data
            if not self._head.startswith(b"HTTP/1.1 200"[: len(self._head)]):
                self._fail(self._head[:300].decode("latin-1"))
            if OUR_MARKS.token not in self._head:
                return
            self.began.set_result(None)
            self._head = b""
        elif OUR_MARKS.token not in data:
            if OUR_MARKS.complete in data or b"event: error\n" in data:
                self._fail(data[:300].decode("latin-1"))
            return
        now = time.perf_counter()
        if self._last:
            self._gaps_s.append(now - self._last)
        self._last = now

    def _fail(self, why: str) -> None:
        self.why = self.why or why
        if not self.began.done():
            self.began.set_exception(WrongAnswer(why))
            self.began.exception()  # counts as retrieved even if nobody awaits it


async def open_streams(model: Running, folder: Path, counts: Sequence[int], hold_s: float, *, relayed: bool) -> Section:
    """Open as many streams as each of `counts` says, and hold them.

    Raises:
        RuntimeError: the server does not come up.
        WrongAnswer, TimeoutError: a stream does not begin, or ends.
    """
    how = "relayed from the model server" if relayed else "of the offline model"
    columns = ("open streams", "KB each", "resident, MB", "descriptors", "server CPU, cores", "tokens/s",
               "gap p50, s", "gap p99, s", "gap max, s", "opening, s")  # fmt: skip
    section = Section("streams-relayed" if relayed else "streams-offline", f"Open streams {how}, a token a second each",
                      columns)  # fmt: skip
    candidate = amrikyy("relaying") if relayed else amrikyy("offline", MODELS="offline", OFFLINE_TOKENS_PER_S="1")
    with _usual_limit():
        server = start(candidate, f"http://127.0.0.1:{model.port}", folder)
    soft, hard = server.process.descriptor_limits
    gaps_s = array("d")
    watchers: list[_Watcher] = []
    try:
        if relayed:
            await set_manner(model, TOKENS, 0)
            await put_load(server.port, BLOG_STREAM.requests(candidate.credential), OPENING, 0.5)
            await set_manner(model, LONG, 1)
        requests = BLOG_STREAM.requests(candidate.credential)
        first = await _open(server.port, requests, gaps_s, 8)  # what the first ones load is never freed
        await asyncio.sleep(1)
        before = server.process.resident_bytes
        watchers += first
        for count in counts:
            began = time.perf_counter()
            while len(watchers) < count:
                watchers += await _open(server.port, requests, gaps_s, min(OPENING, count - len(watchers)))
            opened_s = time.perf_counter() - began
            await asyncio.sleep(2)
            del gaps_s[:]
            cpu_s, began = server.process.cpu_s, time.perf_counter()
            await asyncio.sleep(hold_s)
            held_s = time.perf_counter() - began
            gaps = sorted(gaps_s)
            resident = server.process.resident_bytes
            if broken := [each.why for each in watchers if each.why]:
                raise WrongAnswer(f"{len(broken)} of {count} streams broke off: {broken[0]}")
            section.rows.append((
                count, (resident - before) / (count - len(first)) / 1e3, resident / 1e6,
                server.process.descriptors, (server.process.cpu_s - cpu_s) / held_s, len(gaps) / held_s,
                quantile(gaps, 0.5), quantile(gaps, 0.99), gaps[-1], opened_s,
            ))  # fmt: skip
    finally:
        for each in watchers:
            each.transport.abort()
        await asyncio.sleep(0.5)
        server.process.stop()
    section.notes.append(f"started with a soft limit of {USUAL:,} descriptors; the server made it {soft:,} of {hard:,}")
    return section


@contextmanager
def _usual_limit() -> Iterator[None]:
    """Give processes that are started in this block the soft limit of descriptors that a login shell gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _open(port: int, requests: Requests, gaps_s: "array[float]", count: int) -> list[_Watcher]:
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(lambda: _Watcher(gaps_s), "127.0.0.1", port))[1] for _ in range(count)]
    for each in opened:
        each.transport.write(requests())
    async with asyncio.timeout(30):
        for each in opened:
            await each.began
    return opened
