"""A workflow of three steps that do nothing, over HTTP: on our server, and on LangGraph's, which keeps it in memory.

LangGraph is looked for in `bench/peers/.venv-langgraph`; `make bench-peers` installs it there.
"""

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from bench.candidates import HERE, Candidate, amrikyy, start

CALLERS = 16
SLICE_S = 5.0
ROUNDS = 3
LANGGRAPH = HERE / "peers/.venv-langgraph/bin/langgraph"

STEP = {"agent": "bench", "method": "pause"}
OURS: tuple[str, dict[str, Any]] = ("/api/coordinator/sequential", {"steps": [STEP] * 3})
THEIRS: tuple[str, dict[str, Any]] = ("/runs/wait", {"assistant_id": "steps", "input": {"seconds": 0}})


def langgraph() -> Candidate:
    """LangGraph's development server, the one that needs no licence."""

    def command(port: int) -> list[str]:
        return [str(LANGGRAPH), "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1", "--port", str(port),
                "--n-jobs-per-worker", "64", "--server-log-level", "ERROR"]  # fmt: skip

    def environment(_: int, __: str, folder: Path) -> Mapping[str, str]:
        return {
            "HOME": str(folder), "PYTHONPATH": "", "VIRTUAL_ENV": "", "LANGSMITH_TRACING": "false",
            "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LOG_LEVEL": "ERROR",
        }  # fmt: skip

    return Candidate("LangGraph", command, environment, ready="/ok")


def ours() -> Candidate:
    """Our server with SQLite, where each step is on disk before the next one begins."""
    return amrikyy(
        AGENTS="bench.idle_agent", PYTHONPATH=str(HERE.parent), MODELS="offline", MAX_WORKFLOWS_PER_CALLER=str(CALLERS),
        RATE_LIMIT_WHITELIST="127.0.0.1",
    )  # fmt: skip


async def load(port: int, credential: Mapping[str, str], path: str, body: dict[str, Any]) -> list[float]:
    """Let each caller run one workflow after another; returns how long each took, in milliseconds."""
    taken: list[float] = []
    numbers = count()
    until = time.perf_counter() + SLICE_S

    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=credential) as http:

        async def caller() -> None:
            while time.perf_counter() < until:
                next(numbers)
                began = time.perf_counter()
                async with http.post(path, json=body) as reply:
                    answer = await reply.read()
                    if reply.status != 200:
                        raise RuntimeError(f"{path} answers {reply.status}: {answer[:300]!r}")
                taken.append((time.perf_counter() - began) * 1e3)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return taken


def main() -> None:
    """Measure them in turns, and print a line for each."""
    candidates = [(ours(), OURS)]
    if LANGGRAPH.exists():
        candidates.append((langgraph(), THEIRS))
    else:
        sys.stdout.write("LangGraph is not installed: make bench-peers installs it.\n")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        shutil.copytree(HERE / "peers/langgraph_steps", Path(folder) / "LangGraph")  # read where it is started
        running = [(start(candidate, "http://127.0.0.1:9", Path(folder)), call) for candidate, call in candidates]
        try:
            taken: dict[str, list[float]] = {each.candidate.name: [] for each, _ in running}
            cpu_s = dict.fromkeys(taken, 0.0)
            for round_ in range(ROUNDS + 1):
                for each, (path, body) in running:
                    before = each.process.cpu_s
                    found = asyncio.run(load(each.port, each.candidate.credential, path, body))
                    if round_:  # the first one is for warming up
                        taken[each.candidate.name] += found
                        cpu_s[each.candidate.name] += each.process.cpu_s - before
        finally:
            for each, _ in running:
                each.process.stop()
    for name, found in taken.items():
        per_s = len(found) / (ROUNDS * SLICE_S)
        sys.stdout.write(
            f"{name:10} {per_s:.0f} workflows/s of three steps with {CALLERS} callers; median "
            f"{statistics.median(found):.0f} ms; {cpu_s[name] / len(found) * 1e3:.1f} ms of CPU each\n"
        )


if __name__ == "__main__":
    main()
