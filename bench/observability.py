"""What observability costs: traces, metrics and the ledger, against none of them: `python -m bench.observability`."""

import asyncio
import gc
import os
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import uvloop

from amrikyy.telemetry.metrics import Metrics
from amrikyy.web.metrics import aside
from bench.calls import BLOG_POST, BLOG_STREAM, FLIGHTS, Call
from bench.candidates import Candidate, Running, amrikyy, side_by_side
from bench.measure import set_manner, take_turns, warm_up
from bench.processes import LOAD_CORE
from bench.scenarios import TOKENS

ROUNDS = 11
SLICE_S = 0.4
"""Slices are short and many: a shared machine changes its speed, and only neighbouring slices are compared."""

CALLERS = 16
LABEL_SETS = 200
SCRAPES = 30
TICK_S = 0.001

CALLS: dict[str, Call] = {"JSON operation": BLOG_POST, "searchFlights": FLIGHTS, "stream": BLOG_STREAM}
NOTHING, COUNTED, DEFAULT, SAMPLED, EVERYTHING = "nothing", "counted", "default", "sampled", "traced"
"""No metrics and no ledger; both of them; also 50 traces a second, which is a server's default; 5 % of requests traced;
all of them traced."""


def candidates() -> list[Candidate]:
    """The same server, recording more and more. `bench/unobserved.py` takes out what cannot be switched off."""
    program = [sys.executable, str(Path(__file__).with_name("unobserved.py"))]
    return [
        replace(amrikyy(NOTHING, OTEL_TRACES_SAMPLER_ARG="0"), command=lambda _: program),
        amrikyy(COUNTED, OTEL_TRACES_SAMPLER_ARG="0"),
        amrikyy(DEFAULT),
        amrikyy(SAMPLED, OTEL_TRACES_SAMPLER_ARG="0.05", TRACES_PER_SECOND="1000000"),
        amrikyy(EVERYTHING, OTEL_TRACES_SAMPLER_ARG="1", TRACES_PER_SECOND="1000000"),
    ]


async def compare(servers: Mapping[str, Running], models: Running) -> None:
    """Measure each call on each server in turn; print CPU, and the ratios to NOTHING and to COUNTED."""
    for server in servers.values():
        await warm_up(server, list(CALLS.values()), models, 0.5)
    await set_manner(models, TOKENS, 0)
    for title, call in CALLS.items():
        taken = await take_turns(servers, call, rounds=ROUNDS, callers=CALLERS, slice_s=SLICE_S)
        cpu_us = {name: [rate.cpu_us for rate in rates] for name, rates in taken.items()}
        unit = "token" if call.streams else "call"
        shown = [
            f"{name} {statistics.median(values):.1f} ({_ratio(cpu_us[NOTHING], values):.2f} of nothing, "
            f"{_ratio(cpu_us[COUNTED], values):.2f} of counted)"
            for name, values in cpu_us.items()
        ]
        sys.stdout.write(f"{title}, us of CPU a {unit}: {', '.join(shown)}\n")


def _ratio(base: list[float], other: list[float]) -> float:
    """The share of the base's work that the other does with the same CPU: the median over the rounds."""
    return statistics.median(one / two for one, two in zip(base, other, strict=True))


async def scrape() -> None:
    """Print how long `/api/metrics` takes with many label sets, and how long it delays the event loop."""
    metrics = Metrics()
    for number in range(LABEL_SETS):
        route = f"/api/agents/agent-{number}/operation"
        metrics.http_requests.inc("POST", route, "200")
        metrics.http_seconds.observe(0.1, "POST", route)
    took_ms, late_ms = [], []
    loop = asyncio.get_running_loop()
    for _ in range(SCRAPES):
        gc.collect()
        rendering = loop.create_task(aside(metrics.render, ""))
        began = time.perf_counter()
        worst = 0.0
        while not rendering.done():
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            worst = max(worst, time.perf_counter() - due)
        took_ms.append((time.perf_counter() - began) * 1000)
        late_ms.append(worst * 1000)
    sys.stdout.write(
        f"a scrape of {LABEL_SETS} label sets of two metrics: {statistics.median(took_ms):.1f} ms; the event loop is "
        f"late by {statistics.median(late_ms):.1f} ms at worst (median of {SCRAPES}), {max(late_ms):.1f} once\n"
    )


def main() -> None:
    """Print the table."""
    os.sched_setaffinity(0, {LOAD_CORE})
    uvloop.run(scrape())
    with side_by_side(candidates()) as (servers, models):
        uvloop.run(compare(servers, models))


if __name__ == "__main__":
    main()
