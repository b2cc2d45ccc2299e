"""What a durable step costs over a bare run, on SQLite and on PostgreSQL: `python -m bench.workflows`."""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import uvloop
from pydantic import TypeAdapter
from tests.postgres import Postgres

from amrikyy.agents.registry import Registry
from amrikyy.runtime import Runtime, open_runtime
from amrikyy.settings import Settings
from amrikyy.workflows.plan import Plan
from amrikyy.workflows.records import Owner
from bench.idle_agent import Pause, agent, pause

STEPS = 10
ROUNDS = 60
TASKS = 20
TASK_S = 0.5
AT_ONCE = 20
THROUGHPUT_S = 5.0

OWNER = Owner("user:bench", "user", limited=False)
PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


async def run_workflow(runtime: Runtime, body: dict[str, Any]) -> None:
    """Start a workflow and wait for its end."""
    plan = PLAN.validate_python(body)
    workflows = runtime.workflows
    record = await workflows.wait(await workflows.start(plan, await workflows.check(plan), OWNER))
    if record.status != "completed":
        raise RuntimeError(f"the workflow is {record.status}: {record.error}")


def sequence(steps: int) -> dict[str, Any]:
    """A plan of this many steps that do nothing."""
    return {"strategy": "sequential", "steps": [{"agent": "bench", "method": "pause"}] * steps}


async def median_ms(work: Callable[[], Awaitable[object]]) -> float:
    """The median time that the work takes."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(taken)


async def measure(name: str, database_url: str, folder: Path) -> None:
    """Measure one database and print its figures."""
    settings = Settings.load(
        _env_file=None, app_env="test", data_dir=folder, database_url=database_url, jwt_secret="j" * 40,
        models="offline", max_workflows_per_caller=AT_ONCE,
    )  # fmt: skip
    async with open_runtime(settings, Registry([agent])) as runtime:

        async def bare() -> None:
            run = await runtime.runner.start(pause, Pause(), owner=OWNER.id)
            await run.wait()

        await run_workflow(runtime, sequence(1))  # opens the engine
        bare_ms = await median_ms(bare)
        one_ms = await median_ms(lambda: run_workflow(runtime, sequence(1)))
        ten_ms = await median_ms(lambda: run_workflow(runtime, sequence(STEPS)))
        step_ms = (ten_ms - one_ms) / (STEPS - 1)
        task = {"agent": "bench", "method": "pause", "params": {"seconds": TASK_S}}
        began = time.perf_counter()
        await run_workflow(runtime, {"strategy": "parallel", "tasks": [task] * TASKS})
        parallel_s = time.perf_counter() - began
        numbers = count()
        until = time.perf_counter() + THROUGHPUT_S

        async def caller() -> None:
            while time.perf_counter() < until:
                await run_workflow(runtime, sequence(3))
                next(numbers)

        await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
        per_s = next(numbers) / THROUGHPUT_S
    sys.stdout.write(
        f"{name:11} bare run {bare_ms:.2f} ms; workflow of one step {one_ms:.1f} ms; each further step "
        f"{step_ms - bare_ms:.1f} ms over the bare run; {TASKS} tasks of {TASK_S * 1e3:.0f} ms side by side "
        f"{parallel_s * 1e3:.0f} ms; {per_s:.0f} workflows/s of three steps\n"
    )


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database on a server of its own."""
    server = Postgres()
    try:
        yield server.new_database(empty=True)
    finally:
        server.stop()


def main() -> None:
    """Measure both databases."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        uvloop.run(measure("SQLite", f"sqlite:///{folder}/bench.db", Path(folder)))
        with postgres() as url:
            uvloop.run(measure("PostgreSQL", url, Path(folder)))


if __name__ == "__main__":
    main()
