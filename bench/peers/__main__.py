"""`python -m bench.peers`: our server beside LiteLLM, Agno, LangGraph, ADK and Express, on one local model server."""

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import uvloop

from bench.candidates import model
from bench.machine import machine
from bench.peers.contestants import Contestant, contestants
from bench.peers.report import Report, tables
from bench.peers.rounds import SCENARIOS, Measured, Plan, measure_rounds
from bench.processes import LOAD_CORE
from bench.summary import summarise


def main() -> None:
    """Measure and print."""
    all_of_them = contestants()
    names = ", ".join(each.name for each in all_of_them)
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of short slices: two minutes")
    parser.add_argument("--only", metavar="NAME", nargs="+", help=f"of {names}")
    parser.add_argument("--minutes", type=float, default=12, help="after which nobody is started any more")
    parser.add_argument("--json", type=Path, default=Path("bench/result-peers.json"), help="where the figures go")
    chosen = parser.parse_args()
    who = [each for each in all_of_them if not chosen.only or each.name in chosen.only]
    if not who:
        parser.error(f"nobody is called so; there are {names}")
    os.sched_setaffinity(0, {LOAD_CORE})
    gc.disable()  # a pause here would be mistaken for one of the server's
    until = time.perf_counter() + chosen.minutes * 60
    if chosen.quick:
        plan = Plan(rounds=1, slices=1, slice_share=0.5, warm_up_s=0.5, until=until)
    else:
        plan = Plan(rounds=3, slices=2, slice_share=1, warm_up_s=1.5, until=until)
    report = run(who, plan)
    chosen.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    sys.stdout.write(tables(report))


def run(who: Sequence[Contestant], plan: Plan) -> Report:
    """Measure all contestants.

    Raises:
        RuntimeError: the model server does not come up.
    """
    began, load_before = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        models = model(folder)
        try:
            measured = uvloop.run(measure_rounds(who, models, folder, plan, _say))
        finally:
            models.process.stop()
    return _report(who, measured, time.perf_counter() - began, load_before)


def _report(who: Sequence[Contestant], measured: Measured, took_s: float, load_before: float) -> Report:
    middle = statistics.median
    return Report(
        machine=machine(),
        load_average=(load_before, os.getloadavg()[0]),
        took_s=took_s,
        versions={each.name: each.version for each in who},
        access={each.name: each.access for each in who},
        scenarios=[summarise(each, measured.slices[each.name]) for each in SCENARIOS if measured.slices[each.name]],
        start_s={name: middle(values) for name, values in measured.started_s.items()},
        idle_mb={name: middle(values) / 1e6 for name, values in measured.idle_bytes.items()},
        loaded_mb={name: value / 1e6 for name, value in measured.loaded_bytes.items()},
        failures=measured.failures,
    )


def _say(what: str) -> None:
    sys.stderr.write(f"\r\033[K{what} " if sys.stderr.isatty() else f"{what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
