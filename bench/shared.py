"""What Redis costs a server: one with it and one without it, side by side: `python -m bench.shared`.

`python -m bench.shared --against OTHER/src` measures the code of another checkout, with Redis, in the same rounds, and
`python -m bench.shared --durable` compares DURABLE_REPLIES instead, on SQLite.
"""

import argparse
import os
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import uvloop
from tests.redis_server import RedisServer, redis_server

from bench.calls import BLOG_POST, BLOG_STREAM, FLIGHTS, Call
from bench.candidates import Running, amrikyy, side_by_side
from bench.load import put_load
from bench.measure import set_manner, settle, warm_up
from bench.processes import LOAD_CORE
from bench.scenarios import TOKENS

STARTS = 4
"""How often all servers are started anew: the same program differs by some percent from one start to the next."""

ROUNDS = 5
SLICE_S = 0.5
CALLERS = 16

CACHED_POST = replace(BLOG_POST, body={"topic": "Night trains", "length": "medium"})
CACHED_STREAM = replace(BLOG_STREAM, body={"topic": "Day trains", "length": "medium"})

CALLS: dict[str, Call] = {
    "JSON operation": BLOG_POST,
    "searchFlights": FLIGHTS,
    "stream": BLOG_STREAM,
    "cached JSON answer": CACHED_POST,
    "cached stream": CACHED_STREAM,
}

_COMMAND = re.compile(r"cmdstat_([^:]+):calls=(\d+)")


class Slice(NamedTuple):
    """What a server reached in one slice.

    Attributes:
        per_s: answers a second, or tokens of streams.
        cpu_us: microseconds of the server's CPU for each.
        redis_us: microseconds of its Redis's CPU per call.
        reads: how often Redis read from a connection, per call.
        commands: how often Redis ran each command, per call, including those inside scripts.
    """

    per_s: float
    cpu_us: float
    redis_us: float = 0.0
    reads: float = 0.0
    commands: Mapping[str, float] = {}


class _Spent(NamedTuple):
    """What a Redis has done so far."""

    cpu_s: float
    reads: int
    commands: Counter[str]


def spent(server: RedisServer | None) -> _Spent:
    """Read what a Redis has done. Its only busy thread's CPU time is in nanoseconds: a slice has few clock ticks."""
    if server is None:
        return _Spent(0, 0, Counter())
    cpu_s = int(Path(f"/proc/{server.pid}/schedstat").read_text().split()[0]) / 1e9
    reads = re.search(rb"total_reads_processed:(\d+)", server.ask("INFO stats"))
    assert reads is not None
    commands = {name: int(calls) for name, calls in _COMMAND.findall(server.ask("INFO commandstats").decode())}
    return _Spent(cpu_s, int(reads[1]), Counter(commands))


async def take(server: Running, redis: RedisServer | None, call: Call, callers: int) -> Slice:
    """Put load on a server for one slice.

    Raises:
        WrongAnswer, TimeoutError: it did not answer as expected.
    """
    before, began_s = spent(redis), server.process.cpu_s
    load = await put_load(server.port, call.requests(server.candidate.credential), callers, SLICE_S)
    cpu_s = await settle(server.process) - began_s
    after = spent(redis)
    done = load.tokens if call.streams else load.calls
    return Slice(
        done / load.wall_s,
        cpu_s / done * 1e6,
        (after.cpu_s - before.cpu_s) / load.calls * 1e6,
        (after.reads - before.reads) / load.calls,
        {name: calls / load.calls for name, calls in (after.commands - before.commands).items()},
    )


Taken = dict[str, defaultdict[str, list[Slice]]]
"""The slices by call and server."""


async def measure(
    servers: Mapping[str, Running],
    redis: Mapping[str, RedisServer],
    models: Running,
    calls: Mapping[str, Call],
    callers: int,
    taken: Taken,
) -> None:
    """Measure each call on each server in turn."""
    for server in servers.values():
        await warm_up(server, list(calls.values()), models, 1)
    await set_manner(models, TOKENS, 0)
    for title, call in calls.items():
        for _ in range(ROUNDS):
            for name, server in servers.items():
                taken[title][name].append(await take(server, redis.get(name), call, callers))


def report(of_all: Taken) -> None:
    """Print calls and tokens a second, and CPU."""
    for title, taken in of_all.items():
        call, (plain, *others) = CALLS[title], taken
        unit = "tokens" if call.streams else "answers"
        middle = {name: _median(slices) for name, slices in taken.items()}
        base = middle[plain]
        sys.stdout.write(f"{title}: {plain} {base.per_s:,.0f} {unit}/s, {base.cpu_us:.1f} us of CPU each\n")
        for name in others:
            one = middle[name]
            clock = statistics.median(b.per_s / a.per_s for a, b in zip(taken[plain], taken[name], strict=True))
            cpu = statistics.median(a.cpu_us / b.cpu_us for a, b in zip(taken[plain], taken[name], strict=True))
            sys.stdout.write(
                f"  {name}: {one.per_s:,.0f} {unit}/s, {one.cpu_us:.1f} us of CPU each: "
                f"{clock:.2f} by the clock, {cpu:.2f} by CPU\n"
            )
            if one.commands:
                commands = ", ".join(f"{each} {count:.2f}" for each, count in one.commands.items() if count >= 0.02)
                sys.stdout.write(
                    f"    its Redis, for a call: {one.redis_us:.0f} us, {one.reads:.2f} reads; {commands}\n"
                )


def _median(slices: list[Slice]) -> Slice:
    per_s, cpu_us, redis_us, reads, _ = zip(*slices, strict=True)
    median = statistics.median
    return Slice(median(per_s), median(cpu_us), median(redis_us), median(reads), slices[-1].commands)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.shared", description=__doc__)
    parser.add_argument("--against", type=Path, help="src of another checkout, to be measured with Redis, too")
    parser.add_argument("--durable", action="store_true", help="DURABLE_REPLIES instead of Redis")
    parser.add_argument("--callers", type=int, default=CALLERS, help="who wait for their answers at the same time")
    parser.add_argument("--only", default="", help="a part of the names of what is called")
    parser.add_argument("--starts", type=int, default=STARTS, help="how often all servers are started")
    options = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})
    calls = {title: call for title, call in CALLS.items() if options.only in title}
    taken: Taken = {title: defaultdict(list) for title in calls}
    for _ in range(options.starts):
        _start(options, calls, taken)
    report(taken)


def _start(options: argparse.Namespace, calls: Mapping[str, Call], taken: Taken) -> None:
    with ExitStack() as stack:
        candidates, redis = [amrikyy("memory")], {}
        if options.durable:
            candidates.append(amrikyy("durable", DURABLE_REPLIES="true"))
        elif options.against:
            redis["Redis, there"] = stack.enter_context(redis_server())
            url = redis["Redis, there"].url
            candidates.append(amrikyy("Redis, there", REDIS_URL=url, PYTHONPATH=f"{options.against.resolve()}"))
        if not options.durable:
            redis["Redis"] = stack.enter_context(redis_server())
            candidates.append(amrikyy("Redis", REDIS_URL=redis["Redis"].url))
        servers, models = stack.enter_context(side_by_side(candidates))
        uvloop.run(measure(servers, redis, models, calls, options.callers, taken))


if __name__ == "__main__":
    main()
