"""What a decision of the in-process limiter costs: `python -m bench.limits`."""

import sys
import time
import tracemalloc

from amrikyy.ratelimit import Charge, Limit, MemoryLimiter

ROUNDS = 100_000


def cost_us(limits: list[Limit], callers: int) -> float:
    """Microseconds a decision over `limits`, for so many callers in turn, in a steady state."""
    now = 0.0
    limiter = MemoryLimiter(clock=lambda: now)
    charges = [[Charge(str(number), f"user:{caller}", limit) for number, limit in enumerate(limits)]
               for caller in range(callers)]  # fmt: skip
    pause_s = 60 / (min(limit.count for limit in limits) * callers)  # as fast as the limit lets them
    began = time.perf_counter()
    for turn in range(ROUNDS):
        now += pause_s
        limiter.decide_now(charges[turn % callers])
    return (time.perf_counter() - began) / ROUNDS * 1e6


def bytes_per_counter(limit: Limit) -> float:
    """Bytes of a counter that is used up."""
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


def main() -> None:
    """Print the table."""
    usual = [Limit(100, 60), Limit(30, 60), Limit(5, 60)]
    for name, limits in (("one, 100/minute", usual[:1]), ("the guide's three", usual),
                         ("three of 100,000/minute", [Limit(100_000, 60)] * 3)):  # fmt: skip
        costs = ", ".join(f"{cost_us(limits, callers):.1f} us with {callers} callers" for callers in (1, 1000))
        sys.stdout.write(f"{name:26} {costs}\n")
    for limit in (Limit(5, 60), Limit(100, 60), Limit(100_000, 60)):
        sys.stdout.write(f"{limit!s:26} {bytes_per_counter(limit):,.0f} bytes when used up\n")


if __name__ == "__main__":
    main()
