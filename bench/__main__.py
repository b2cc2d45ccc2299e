"""`python -m bench`: our server beside an Express server and a bare ASGI app, in one table of ratios."""

import argparse
import gc
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import uvloop

from bench.calls import BLOG_STREAM
from bench.candidates import Running, missing, model, start
from bench.load import WrongAnswer
from bench.machine import machine
from bench.measure import measure, memory_per_stream, warm_up
from bench.processes import LOAD_CORE
from bench.report import Report, table
from bench.scenarios import ALL, CANDIDATES, OPEN_STREAMS, SCENARIOS, Scenario
from bench.summary import Summary, summarise

ROUNDS = 5
STARTS = 4


async def run(
    scenarios: Sequence[Scenario], *, rounds: int, starts: int, warm_up_s: float, open_streams: tuple[int, ...]
) -> Report:
    """Measure everything, in about four minutes.

    Raises:
        RuntimeError: a server does not come up.
        WrongAnswer, TimeoutError: a server does not answer as expected.
    """
    began = time.perf_counter()
    load_before = os.getloadavg()[0]
    summaries: list[Summary] = []
    memory: dict[str, dict[int, float]] = {}
    failures: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        models = model(folder)
        stack.callback(models.process.stop)
        names = [name for name in CANDIDATES if name in ALL or any(name in each.candidates for each in scenarios)]
        starting: dict[str, list[Running]] = {name: [] for name in names}
        servers: dict[str, Running] = {}
        for number in range(starts):
            for name in names:
                _say(f"start {name}")
                running = start(CANDIDATES[name], f"http://127.0.0.1:{models.port}", folder / "long")
                if number:  # the first start creates the database
                    starting[name].append(running)
                if number < starts - 1:
                    running.process.stop()
                else:
                    stack.callback(running.process.stop)
                    servers[name] = running
        for server in servers.values():
            _say(f"warm up {server.candidate.name}")
            await warm_up(server, list({each.call.path: each.call for each in scenarios}.values()), models, warm_up_s)
        for scenario in scenarios:
            _say(scenario.title)
            try:
                summaries.append(summarise(scenario, await measure(scenario, servers, models, rounds)))
            except (WrongAnswer, TimeoutError) as error:
                failures.append(f"{scenario.title}: {error!r}")
        after = {name: server.process.resident_bytes for name, server in servers.items()}
        for name in ALL if open_streams else ():
            _say(f"memory of open streams, {name}")
            fresh = start(CANDIDATES[name], f"http://127.0.0.1:{models.port}", folder / "fresh")
            try:
                memory[name] = await memory_per_stream(fresh, BLOG_STREAM, models, open_streams)
            except (WrongAnswer, TimeoutError) as error:
                failures.append(f"memory of open streams, {name}: {error!r}")
            finally:
                fresh.process.stop()
    return Report(
        machine=machine(),
        load_average=(load_before, os.getloadavg()[0]),
        took_s=time.perf_counter() - began,
        scenarios=summaries,
        start_s={name: statistics.median(each.started_s for each in runs) for name, runs in starting.items()},
        idle_mb={name: statistics.median(each.idle_bytes for each in runs) / 1e6 for name, runs in starting.items()},
        after_mb={name: value / 1e6 for name, value in after.items()},
        stream_kb={name: {count: value / 1e3 for count, value in each.items()} for name, each in memory.items()},
        failures=failures,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="two short slices instead of five, nothing paced: a minute"
    )
    parser.add_argument(
        "--only", metavar="NAME", nargs="*", help=f"of {', '.join(each.name for each in SCENARIOS)}, memory"
    )
    parser.add_argument("--json", type=Path, default=Path("bench/result.json"), help="where the figures are written")
    chosen = parser.parse_args()
    if lacks := missing():
        parser.error(lacks)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.sched_setaffinity(0, {LOAD_CORE})
    gc.disable()  # a pause here would be mistaken for one of the server's
    scenarios = [each for each in SCENARIOS if not chosen.only or each.name in chosen.only]
    if chosen.quick:
        scenarios = [replace(each, slice_s=each.slice_s / 2) for each in scenarios if not each.tokens_per_s]
    with_memory = "memory" in chosen.only if chosen.only else not chosen.quick
    report = uvloop.run(
        run(
            scenarios,
            rounds=2 if chosen.quick else ROUNDS,
            warm_up_s=0.7 if chosen.quick else 1.5,
            starts=2 if chosen.quick or chosen.only else STARTS,
            open_streams=OPEN_STREAMS if with_memory else (),
        )
    )
    chosen.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    sys.stdout.write(table(report))


def _say(what: str) -> None:
    sys.stderr.write(f"\r\033[K{what} " if sys.stderr.isatty() else f"{what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
