"""`python -m bench.soak`: a server at 70 % of what it can do, with clients of every kind; nothing in it may grow."""

import argparse
import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from bench.candidates import Running, amrikyy, model, start
from bench.guard import guarded
from bench.machine import machine
from bench.measure import set_manner
from bench.processes import LOAD_CORE
from bench.soak.clients import Clients
from bench.soak.samples import Sample, p99, slope_mb_per_h, take

SHARE = 0.7
SATURATING_CALLERS = 48
SATURATION_S = 8.0
FILL = 15_000
FILL_WITHIN_S = 90.0
"""`FILL` errands at the highest load bring the caches and the logs of finished runs to their bounds."""

WARM_UP_S = 300.0
"""Seconds at the rate of the load, or as long as the load lasts if that is shorter. Then whatever is opened once is
open, and what SQLite and the C library keep is near its final size: that takes minutes, without new Python objects."""

SAMPLE_EVERY_S = 2.0
SETTLE_S = 65.0
"""Pause after the load: idle connections to a model close after 30 to 60 s, and the server samples itself every 2 s."""

TOKENS, TOKENS_PER_S = 60, 200

# What counts as steady. Each bound is printed with the result.
GROWTH = 0.05
"""The share by which resident memory may grow over the second half."""
MORE = {"fds": 10, "sockets": 6, "threads": 8, "tasks": 6, "slots": 0, "streams": 0}
"""How many more there may be after the load than after the warm-up: pooled connections, and the pools' threads."""
RSS_MORE = 0.05
P99_TIMES = 4.0
"""How many times the median of all intervals' p99 that of a single interval may be."""
FOREIGN = 0.15
"""An interval in which others used more than this share of the server's core says nothing about latency."""

SETTINGS = {
    "METRICS_PUBLIC": "true", "CACHE_MAX_MB": "16", "STREAM_RESUME_S": "30",
    "MAX_WORKFLOWS_PER_CALLER": "1000",
}  # fmt: skip


@dataclass
class Result:
    """Everything that was measured."""

    machine: dict[str, str]
    seed: int
    minutes: float
    saturation_per_s: float
    rate_per_s: float
    settings: dict[str, str]
    counts: dict[str, int] = field(default_factory=dict)
    unexpected: dict[str, int] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    slope_mb_per_h: float = 0.0
    intervals: list[dict[str, float]] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


async def soak(server: Running, models: Running, *, seed: int, minutes: float, rate: float | None) -> Result:
    """Fill the caches, measure what the server can do, warm up; then load it, and compare it before and after."""
    await set_manner(models, TOKENS, TOKENS_PER_S)
    seconds = minutes * 60
    interval_s = 60.0 if minutes >= 5 else 20.0
    clients = Clients(server.port, seed, interval_s)
    _say("filling caches")
    await clients.saturate(SATURATING_CALLERS, FILL_WITHIN_S, most=FILL)
    _say("measuring what it can do")
    saturation = await clients.saturate(SATURATING_CALLERS, SATURATION_S)
    per_s = rate or SHARE * saturation
    _say(f"warming up at {per_s:.0f} errands/s")
    await clients.run(per_s, min(WARM_UP_S, seconds))
    clients.unexpected.clear()
    clients.close()
    await asyncio.sleep(SETTLE_S)
    result = Result(machine(), seed, minutes, saturation, per_s, dict(SETTINGS))
    clients.counts.clear()
    clients.latencies_ms.clear()
    began = time.perf_counter()
    before = await asyncio.to_thread(take, server, began)
    _say(f"{per_s:.0f} errands/s, of {saturation:.0f}, for {minutes:g} minutes")
    load = asyncio.create_task(clients.run(per_s, seconds))
    samples: list[Sample] = []
    try:
        while not load.done():
            await asyncio.wait((load,), timeout=SAMPLE_EVERY_S)
            samples.append(await asyncio.to_thread(take, server, began))
        await load
    finally:
        load.cancel()
        with suppress(asyncio.CancelledError):
            await load
    clients.close()
    await asyncio.sleep(SETTLE_S)
    after = await asyncio.to_thread(take, server, began)
    result.counts, result.unexpected = dict(clients.counts), dict(clients.unexpected)
    result.before, result.after = asdict(before), asdict(after)
    result.samples = [asdict(each) for each in samples]
    _judge(result, samples, before, after, clients, interval_s, seconds)
    return result


def _judge(
    result: Result, samples: Sequence[Sample], before: Sample, after: Sample, clients: Clients,
    interval_s: float, seconds: float,
) -> None:  # fmt: skip
    broken = result.broken
    broken += [f"{count} times: {what}" for what, count in result.unexpected.items()]
    second_half = [each for each in samples if seconds / 2 <= each.at_s <= seconds]
    result.slope_mb_per_h = slope_mb_per_h(second_half)
    grown_mb = result.slope_mb_per_h * seconds / 2 / 3600
    if grown_mb > GROWTH * second_half[0].rss_mb:
        broken.append(f"memory grew by {grown_mb:.1f} MB over the second half, {result.slope_mb_per_h:.0f} MB an hour")
    if after.rss_mb > (1 + RSS_MORE) * before.rss_mb:
        broken.append(f"memory is {after.rss_mb:.0f} MB after the load, and was {before.rss_mb:.0f} MB before")
    for name, more in MORE.items():
        first, last = getattr(before, name), getattr(after, name)
        if last > first + more:
            broken.append(f"{name}: {last} after the load, {first} before, {more} more are allowed")
    for number in range(int(seconds / interval_s)):
        inside = [each for each in samples if number * interval_s <= each.at_s < (number + 1) * interval_s]
        values = clients.latencies_ms.get(number, [])
        if len(inside) < 2 or not values:
            continue
        first, last = inside[0], inside[-1]
        span_s, own_s = last.at_s - first.at_s, last.cpu_s - first.cpu_s
        result.intervals.append({
            "from_s": number * interval_s,
            "calls": len(values),
            "p50_ms": statistics.median(values),
            "p99_ms": p99(values),
            "cpu": own_s / span_s,
            "foreign": max(0.0, (last.core_s - first.core_s - own_s) / span_s),
            "rss_mb": statistics.median(each.rss_mb for each in inside),
            "fds": max(each.fds for each in inside),
            "tasks": max(each.tasks for each in inside),
            "threads": max(each.threads for each in inside),
        })  # fmt: skip
    own = [each for each in result.intervals if each["foreign"] <= FOREIGN]
    if own:
        usual_ms = statistics.median(each["p99_ms"] for each in own)
        broken += [
            f"p99 {each['p99_ms']:.0f} ms in the interval from {each['from_s']:.0f} s, {usual_ms:.0f} ms is usual"
            for each in own
            if each["p99_ms"] > P99_TIMES * usual_ms
        ]


def table(result: Result) -> str:
    """The result as text."""
    lines = [
        f"{result.minutes:g} minutes at {result.rate_per_s:.0f} errands/s; {result.saturation_per_s:.0f} was the most.",
        f"{result.machine['cpu']}, Python {result.machine['python']}",
        "",
        *(f"  {number:8,}  {name}" for name, number in sorted(result.counts.items(), key=lambda each: -each[1])),
        "",
        "  from s   calls  p50 ms  p99 ms   CPU  others  RSS MB   fds  tasks  threads",
    ]
    lines += [
        f"{each['from_s']:8.0f}{each['calls']:8,.0f}{each['p50_ms']:8.1f}{each['p99_ms']:8.1f}{each['cpu']:6.0%}"
        f"{each['foreign']:8.0%}{each['rss_mb']:8.1f}{each['fds']:6.0f}{each['tasks']:7.0f}{each['threads']:9.0f}"
        for each in result.intervals
    ]
    lines += [""]
    for name in ("rss_mb", *MORE):
        allowed = f"{RSS_MORE:.0%} more" if name == "rss_mb" else f"{MORE[name]} more"
        lines.append(
            f"  {name:10} before {result.before[name]:8.1f}   after {result.after[name]:8.1f}   ({allowed} are allowed)"
        )
    lines.append(f"  memory in the second half: {result.slope_mb_per_h:+.1f} MB an hour")
    if not [each for each in result.intervals if each["foreign"] <= FOREIGN]:
        lines.append("  latency was not judged: others used the server's core all the time")
    lines += ["", *(f"BROKEN  {each}" for each in result.broken)] if result.broken else ["", "Nothing grew."]
    return "\n".join(lines) + "\n"


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def main() -> int:
    """Run, print, and say with the exit code whether everything was steady."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="of load; 2 is the short mode")
    parser.add_argument("--rate", type=float, help="errands a second; else 70 %% of what was measured")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("bench/soak.json"), help="where the figures are written")
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.sched_setaffinity(0, {LOAD_CORE})
    with guarded("soak") as guard, ExitStack() as stack:
        models = model(guard.folder)
        guard.watch(models.process.pid)
        server = start(amrikyy("soak", **SETTINGS), f"http://127.0.0.1:{models.port}", guard.folder)
        guard.watch(server.process.pid)
        stack.callback(server.process.stop)
        try:
            result = uvloop.run(soak(server, models, seed=chosen.seed, minutes=chosen.minutes, rate=chosen.rate))
        except KeyboardInterrupt:
            _say("interrupted: everything that was started is ended")
            return 130
    written: dict[str, Any] = asdict(result)
    chosen.json.write_text(json.dumps(written, indent=1) + "\n")
    sys.stdout.write(table(result))
    return int(bool(result.broken))


if __name__ == "__main__":
    sys.exit(main())
