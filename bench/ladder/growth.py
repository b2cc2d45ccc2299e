"""How the cost of a call grows with callers, with agents, and with the length of its stream."""

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path

from bench.calls import AGENT_LIST, BLOG_POST, BLOG_STREAM, Call
from bench.candidates import Candidate, Running, amrikyy, start
from bench.ladder.section import Section
from bench.load import Requests, put_load
from bench.measure import set_manner, settle, warm_up
from bench.scenarios import TOKENS

KEYS = (10, 100, 1000, 10_000)
AGENTS = (3, 20, 50, 200)
LENGTHS = (100, 1000, 10_000, 100_000)

SAME_TOKENS = 200_000
"""How many tokens are streamed at each length, so that the memory that is kept of them can be compared."""

CALLERS = 16
SLICES = 3
SLICE_S = 0.8

MODULE = '''"""{count} agents, made for a measurement."""

from amrikyy.agents import Agent, Request, Result, RunContext


class Question(Request):
    text: str = "why"
    depth: int = 1


class Reply(Result):
    text: str
    sources: list[str] = []


def make(name: str) -> Agent:
    agent = Agent(name, f"Answers questions about {{name}}.", limit="60/minute")

    @agent.operation()
    async def answer(question: Question, run: RunContext) -> Reply:
        """Answer a question."""
        return await run.generate(Reply, prompt=question.text)

    @agent.operation()
    async def write(question: Question, run: RunContext) -> str:
        """Write about a question."""
        return await run.write(prompt=question.text)

    return agent


for number in range({count}):
    globals()[f"agent{{number}}"] = make(f"agent{{number}}")
'''


@contextmanager
def serving(candidate: Candidate, model: Running, folder: Path) -> Iterator[Running]:
    """A running server, stopped at the end.

    Raises:
        RuntimeError: it does not come up.
    """
    server = start(candidate, f"http://127.0.0.1:{model.port}", folder)
    try:
        yield server
    finally:
        server.process.stop()


async def cost_us(server: Running, requests: Requests, call: Call, seconds: float = SLICE_S) -> float:
    """Microseconds of the server's CPU per call, or per token of a stream; the least of some slices: others only add.

    Raises:
        WrongAnswer, TimeoutError: it does not answer.
    """
    found = []
    for _ in range(SLICES):
        cpu_s = await settle(server.process)
        load = await put_load(server.port, requests, CALLERS, seconds)
        done = load.tokens if call.streams else load.calls
        found.append((await settle(server.process) - cpu_s) / done * 1e6)
    return min(found)


async def by_callers(model: Running, folder: Path, keys: Sequence[int]) -> Section:
    """Measure with requests that use this many API keys in turn, which are in the database."""
    section = Section("callers", "Distinct API keys in turn, 16 connections",
                      ("keys", "JSON operation, µs of CPU", "agent list, µs of CPU", "resident, MB"))  # fmt: skip
    candidate = amrikyy("callers")
    with serving(candidate, model, folder):
        pass  # creates the database
    credentials = _add_keys(folder / "callers/bench.db", max(keys))
    with serving(candidate, model, folder) as server:
        await set_manner(model, TOKENS, 0)
        await warm_up(server, [BLOG_POST, AGENT_LIST], model, 1)
        for number in keys:
            row: list[float] = [number]
            for call in (BLOG_POST, AGENT_LIST):
                requests = _in_turn([call.requests({"x-api-key": key}) for key in credentials[:number]])
                await put_load(server.port, requests, CALLERS, SLICE_S)  # uses every key
                row.append(await cost_us(server, requests, call))
            section.rows.append((*row, server.process.resident_bytes / 1e6))
    section.notes.append(
        "a credential is remembered for 3 s, so that revoking it counts within seconds: with more callers than come "
        "in that time, each call looks its key up"
    )
    return section


def _in_turn(callers: Sequence[Requests]) -> Requests:
    """Each request is that of the next caller."""
    turn = cycle(callers)
    return lambda: next(turn)()


def _add_keys(database: Path, number: int) -> list[str]:
    keys = [f"api_{hashlib.sha256(b'%d' % each).hexdigest()[:32]}" for each in range(number)]
    rows = [
        (f"key_{each:032x}", "bench", key[:12], hashlib.sha256(key.encode()).hexdigest(), "premium")
        for each, key in enumerate(keys)
    ]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany(
            "INSERT INTO api_keys (id, name, prefix, key_hash, role, created_at) "
            "VALUES (?, ?, ?, ?, ?, strftime('%Y-%m-%d %H:%M:%f000', 'now'))",
            rows,
        )
    return keys


async def by_agents(model: Running, folder: Path, agents: Sequence[int]) -> Section:
    """Measure with this many agents: the catalog's three, and those of a module that is named in AGENTS."""
    columns = ("agents", "start, s", "resident, MB", "JSON operation, µs of CPU", "agent list, ms",
               "OpenAPI document, first time, ms", "again, ms")  # fmt: skip
    section = Section("agents", "Agents that are served", columns)
    for number in agents:
        more = number - 3
        (folder / f"bench_agents_{more}.py").write_text(MODULE.format(count=more))
        names = {"AGENTS": f"bench_agents_{more}", "PYTHONPATH": str(folder)} if more else {}
        candidate = amrikyy(f"agents-{number}", **names)
        with serving(candidate, model, folder):
            pass  # creates the database and the module's bytecode
        with serving(candidate, model, folder) as server:
            await set_manner(model, TOKENS, 0)
            await warm_up(server, [BLOG_POST], model, 1)
            cost = await cost_us(server, BLOG_POST.requests(candidate.credential), BLOG_POST)
            document = Call("/api/openapi.json")
            first_ms = await once_ms(server, document)
            section.rows.append((
                number, server.started_s, server.idle_bytes / 1e6, cost, await once_ms(server, AGENT_LIST, 5), first_ms,
                await once_ms(server, document, 5),
            ))  # fmt: skip
    return section


async def once_ms(server: Running, call: Call, times: int = 1) -> float:
    """Milliseconds until one caller has the answer; the least of `times` tries.

    Raises:
        WrongAnswer, TimeoutError: it does not answer.
    """
    requests = call.requests(server.candidate.credential)
    return min([(await put_load(server.port, requests, 1, 0)).latencies_ms[0] for _ in range(times)])


async def by_length(model: Running, folder: Path, lengths: Sequence[int]) -> Section:
    """Measure one stream after another, each with this many tokens at once, on a fresh server for each length."""
    columns = ("tokens of a stream", "streams", "tokens/s", "µs of CPU a token", "bytes kept a token",
               "first token, ms")  # fmt: skip
    section = Section("length", f"Length of a stream; {SAME_TOKENS:,} tokens at each", columns)
    for length in lengths:
        candidate = amrikyy(f"length-{length}")
        with serving(candidate, model, folder) as server:
            requests = BLOG_STREAM.requests(candidate.credential)
            await set_manner(model, TOKENS, 0)
            await warm_up(server, [replace(BLOG_STREAM)], model, 1)
            await set_manner(model, length, 0)
            await settle(server.process)
            before, cpu_s = server.process.resident_bytes, server.process.cpu_s
            began, tokens, first, streams = time.perf_counter(), 0, [], count()
            while tokens < SAME_TOKENS:
                load = await put_load(server.port, requests, 1, 0)
                tokens += load.tokens
                first += load.first_tokens_ms
                next(streams)
            took_s = time.perf_counter() - began
            cpu_s = await settle(server.process) - cpu_s
            kept = (server.process.resident_bytes - before) / tokens
            section.rows.append((length, next(streams), tokens / took_s, cpu_s / tokens * 1e6, kept, min(first)))
    section.notes.append("kept are a run's events, for STREAM_RESUME_S after its end, and what the allocator holds")
    return section
