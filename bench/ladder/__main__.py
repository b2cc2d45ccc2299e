"""`python -m bench.ladder`: rates up to saturation, open streams, and what grows with callers, agents, runs, length."""

import argparse
import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import uvloop

from bench.candidates import Running, model
from bench.ladder import growth, rates, stored, streams
from bench.ladder.section import Section
from bench.load import WrongAnswer
from bench.machine import machine
from bench.processes import LOAD_CORE

Part = Callable[[Running, Path], Awaitable[Section]]


def parts(*, quick: bool) -> dict[str, Part]:
    """Everything that can be measured, by the name of its section."""
    shares = rates.SHARES[1::2] if quick else rates.SHARES
    rung_s = 2.5 if quick else 7.0
    hold_s = 4 if quick else 12

    def few(values: tuple[int, ...]) -> tuple[int, ...]:
        return values[:-1:2] if quick else values

    return {
        "rates-1": lambda models, folder: rates.ladder(models, folder, 1, rung_s, shares),
        "rates-2": lambda models, folder: rates.ladder(models, folder, 2, rung_s, shares),
        "streams-relayed": lambda models, folder: streams.open_streams(
            models, folder, few(streams.RELAYED), hold_s, relayed=True
        ),
        "streams-offline": lambda models, folder: streams.open_streams(
            models, folder, few(streams.OFFLINE), hold_s, relayed=False
        ),
        "callers": lambda models, folder: growth.by_callers(models, folder, few(growth.KEYS)),
        "agents": lambda models, folder: growth.by_agents(models, folder, few(growth.AGENTS)),
        "runs": lambda models, folder: stored.by_stored_runs(models, folder, stored.STORED[: 2 if quick else None]),
        "length": lambda models, folder: growth.by_length(models, folder, few(growth.LENGTHS)),
    }


async def run(chosen: dict[str, Part], until: float) -> tuple[list[Section], list[str]]:
    """Measure one part after another.

    Returns:
        their tables; and what was not measured, and why.

    Raises:
        RuntimeError: the model server does not come up.
    """
    sections: list[Section] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        models = model(folder)
        try:
            for title, part in chosen.items():
                if time.perf_counter() > until:
                    failures.append(f"{title}: the time was up")
                    continue
                _say(title)
                try:
                    sections.append(await part(models, folder))
                except (WrongAnswer, TimeoutError, RuntimeError, OSError) as error:
                    failures.append(f"{title}: {error!r}")
        finally:
            models.process.stop()
    return sections, failures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.ladder", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rungs: two minutes")
    parser.add_argument("--only", metavar="NAME", nargs="+", choices=list(parts(quick=True)), help="of these parts")
    parser.add_argument("--minutes", type=float, default=12, help="after which nothing is begun any more")
    parser.add_argument("--json", type=Path, default=Path("bench/result-ladder.json"), help="where the figures go")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.sched_setaffinity(0, {LOAD_CORE})
    gc.disable()  # a pause here would be mistaken for one of the server's
    began, load_before = time.perf_counter(), os.getloadavg()[0]
    chosen = {
        name: part
        for name, part in parts(quick=arguments.quick).items()
        if not arguments.only or name in arguments.only
    }
    sections, failures = uvloop.run(run(chosen, began + arguments.minutes * 60))
    about = {
        **machine(),
        "load average": f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after",
        "took": f"{time.perf_counter() - began:.0f} s",
    }
    figures = {"machine": about, "sections": [asdict(each) for each in sections], "failures": failures}
    arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    for each in sections:
        sys.stdout.write(each.markdown() + "\n")
    for line in [*(f"{key}: {value}" for key, value in about.items()), *(f"NOT measured: {why}" for why in failures)]:
        sys.stdout.write(f"- {line}\n")


def _say(what: str) -> None:
    sys.stderr.write(f"\r\033[K{what} " if sys.stderr.isatty() else f"{what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
