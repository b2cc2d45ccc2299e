"""What a limiter's decision costs, in memory and on a Redis of its own: `python -m bench.limits`."""

import asyncio
import re
import sys
import time
import tracemalloc

import uvloop
from tests.redis_server import RedisServer, redis_server

from amrikyy.ratelimit import Charge, Limit, MemoryLimiter
from amrikyy.ratelimit.redis import SCRIPTS, RedisLimiter
from amrikyy.redis_link import RedisAddress, RedisLink

ROUNDS = 100_000
REDIS_ROUNDS = 20_000


def cost_us(limits: list[Limit], callers: int) -> float:
    """Microseconds per decision over `limits`, for this many callers in turn, in a steady state."""
    now = 0.0
    limiter = MemoryLimiter(clock=lambda: now)
    charges = [[Charge(str(number), f"user:{caller}", limit) for number, limit in enumerate(limits)]
               for caller in range(callers)]  # fmt: skip
    pause_s = 60 / (min(limit.count for limit in limits) * callers)  # as fast as the limit allows
    began = time.perf_counter()
    for turn in range(ROUNDS):
        now += pause_s
        limiter.decide_now(charges[turn % callers])
    return (time.perf_counter() - began) / ROUNDS * 1e6


def bytes_per_counter(limit: Limit) -> float:
    """Bytes per counter whose limit is used up."""
    tracemalloc.start()
    now = 0.0
    limiter = MemoryLimiter(clock=lambda: now)
    before = tracemalloc.get_traced_memory()[0]
    for step in range(min(limit.count, 2000)):
        now = step * limit.window_s / min(limit.count, 2000)
        for caller in range(100):
            limiter.decide_now([Charge("x", f"user:{caller}", limit)])
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / 100


async def redis_cost(server: RedisServer, limits: list[Limit], at_once: int) -> str:
    """What a decision costs this process and Redis when `at_once` callers ask together, and how long each waits."""
    link = RedisLink(RedisAddress.parse(server.url), scripts=SCRIPTS, deadline_s=10)
    await link.start()
    limiter = RedisLimiter(link)
    charges = [
        [Charge(str(number), f"user:{caller}", limit) for number, limit in enumerate(limits)]
        for caller in range(at_once)
    ]
    server.ask("FLUSHALL")
    server.ask("CONFIG RESETSTAT")
    began, cpu_began = time.perf_counter(), time.process_time()
    for _ in range(REDIS_ROUNDS // at_once):
        await asyncio.gather(*(limiter.decide(charge) for charge in charges))
    wall_us, cpu_us = ((time.perf_counter() - began) * 1e6, (time.process_time() - cpu_began) * 1e6)
    script = re.search(rb"cmdstat_evalsha:.*usec_per_call=([0-9.]+)", server.ask("INFO commandstats"))
    assert script is not None
    await link.close()
    return (
        f"{cpu_us / REDIS_ROUNDS:.1f} us of this process, {float(script[1]):.1f} us of Redis, "
        f"{wall_us / REDIS_ROUNDS * at_once:.0f} us until all {at_once} are decided"
    )


def main() -> None:
    """Print the table."""
    usual = [Limit(100, 60), Limit(30, 60), Limit(5, 60)]
    steady = [Limit(100, 1), Limit(100, 1), Limit(100, 1)]  # always allowed, and as much expires as is added
    with redis_server() as server:
        for name, limits in (("one", steady[:1]), ("three", steady), ("three, refused", usual)):
            for at_once in (1, 50):
                line = uvloop.run(redis_cost(server, limits, at_once))
                sys.stdout.write(f"Redis, {name:14} {line}\n")
    for name, limits in (("one, 100/minute", usual[:1]), ("the guide's three", usual),
                         ("three of 100,000/minute", [Limit(100_000, 60)] * 3)):  # fmt: skip
        costs = ", ".join(f"{cost_us(limits, callers):.1f} us with {callers} callers" for callers in (1, 1000))
        sys.stdout.write(f"{name:26} {costs}\n")
    for limit in (Limit(5, 60), Limit(100, 60), Limit(100_000, 60)):
        sys.stdout.write(f"{limit!s:26} {bytes_per_counter(limit):,.0f} bytes when used up\n")


if __name__ == "__main__":
    main()
