"""What Redis costs a server, with it and without it side by side: `python -m bench.shared`.

`python -m bench.shared --durable` compares DURABLE_REPLIES instead, on SQLite.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Mapping
from dataclasses import replace

import uvloop
from tests.redis_server import redis_server

from bench.calls import BLOG_POST, BLOG_STREAM, FLIGHTS, Call
from bench.candidates import Running, amrikyy, side_by_side
from bench.measure import set_manner, take_turns, warm_up
from bench.processes import LOAD_CORE
from bench.scenarios import TOKENS

ROUNDS = 4
SLICE_S = 0.8
CALLERS = 16

CACHED_POST = replace(BLOG_POST, body={"topic": "Night trains", "length": "medium"})
CACHED_STREAM = replace(BLOG_STREAM, body={"topic": "Day trains", "length": "medium"})

CALLS: dict[str, Call] = {
    "searchFlights": FLIGHTS,
    "JSON operation": BLOG_POST,
    "stream": BLOG_STREAM,
    "cached JSON answer": CACHED_POST,
    "cached stream": CACHED_STREAM,
}


async def compare(servers: Mapping[str, Running], models: Running) -> None:
    """Measure each call on each server in turn, and print calls and tokens a second, and CPU."""
    for server in servers.values():
        await warm_up(server, list(CALLS.values()), models, 1)
    await set_manner(models, TOKENS, 0)
    for title, call in CALLS.items():
        taken = await take_turns(servers, call, rounds=ROUNDS, callers=CALLERS, slice_s=SLICE_S)
        unit = "tokens" if call.streams else "answers"
        rates = {name: statistics.median(rate.per_s for rate in taken[name]) for name in servers}
        costs = {name: statistics.median(rate.cpu_us for rate in taken[name]) for name in servers}
        each = ", ".join(f"{name}: {rates[name]:,.0f} {unit}/s, {costs[name]:.1f} us of CPU each" for name in servers)
        plain, other = servers
        ratios = f"{rates[other] / rates[plain]:.2f} by the clock, {costs[plain] / costs[other]:.2f} by CPU"
        sys.stdout.write(f"{title:20} {each}; {other} {ratios}\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.shared", description=__doc__)
    parser.add_argument("--durable", action="store_true", help="DURABLE_REPLIES instead of Redis")
    durable = parser.parse_args().durable
    os.sched_setaffinity(0, {LOAD_CORE})
    with redis_server() as redis:
        other = amrikyy("durable", DURABLE_REPLIES="true") if durable else amrikyy("Redis", REDIS_URL=redis.url)
        with side_by_side((amrikyy("memory"), other)) as (servers, models):
            uvloop.run(compare(servers, models))


if __name__ == "__main__":
    main()
