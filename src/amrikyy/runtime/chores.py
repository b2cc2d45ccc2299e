"""What the process does besides answering: each task is owned by the exit stack that stops it."""

import asyncio
import random
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import timedelta

import structlog

from amrikyy.agents.registry import Registry
from amrikyy.errors import AmrikyyError
from amrikyy.runtime.runtime import Runtime

log = structlog.get_logger(__name__)

PURGE_EVERY_S = 3600

FIRST_PURGE_AFTER_S = (60, 600)
"""At a random time between these, so that processes started together do not all delete at once."""

SUM_UP_EVERY_S = 15
"""So many seconds' entries of the ledger are read one by one."""

SAMPLE_EVERY_S = 2.0


def start(work: Coroutine[None, None, None], name: str, stack: AsyncExitStack) -> None:
    """Do it beside everything else, until the stack is unwound."""
    stack.push_async_callback(_stop, asyncio.get_running_loop().create_task(work, name=name))


async def prepare(registry: Registry) -> None:
    """Load what the agents need, off the event loop, so that the first request does not wait for it."""
    for agent in registry:
        if agent.prepare is not None:
            try:
                await asyncio.to_thread(agent.prepare)
            except Exception:
                log.exception("agent_not_prepared", agent=agent.name)
    await asyncio.to_thread(_give_back)


def _give_back() -> None:
    """Return to the system the memory that only starting needed and the C library still holds."""
    if sys.platform == "linux":
        import ctypes

        with suppress(AttributeError):  # musl has no such function, and keeps less
            ctypes.CDLL(None).malloc_trim(0)


def deletions(runtime: Runtime) -> dict[str, Callable[[], Awaitable[int]]]:
    """The deletions of what is too old, by their names in the log; each returns how much it deleted."""
    settings = runtime.settings
    runs_for = timedelta(days=settings.run_retention_days)
    traces_for = timedelta(days=settings.trace_retention_days)
    audit_for = timedelta(days=settings.audit_retention_days)
    return {
        "runs": lambda: runtime.records.purge(runs_for),
        "workflows": lambda: runtime.workflows.purge(runs_for),
        "workflow_definitions": lambda: runtime.workflows.definitions.purge(runs_for),
        "traces": lambda: runtime.traces.store.purge(traces_for),
        "idempotency_keys": runtime.idempotency.purge,
        "tokens": runtime.accounts.delete_expired,
        "budgets": runtime.budgets.purge,
        "audit_entries": lambda: runtime.audit.purge(audit_for),
    }


async def upkeep(deletions: Mapping[str, Callable[[], Awaitable[int]]]) -> None:
    """Delete what is too old, soon after the start and then every hour, for few processes live as long as that where
    they are replaced often. A chore that fails does not keep the others from being done."""
    wait_s = random.uniform(*FIRST_PURGE_AFTER_S)  # noqa: S311 - no secret
    while True:
        await asyncio.sleep(wait_s)
        wait_s = PURGE_EVERY_S
        await _delete(deletions)


async def _delete(deletions: Mapping[str, Callable[[], Awaitable[int]]]) -> None:
    """Do all of them. Those that fail for one reason, such as a database that is away, are one line of the log."""
    deleted: dict[str, int] = {}
    failed: defaultdict[str, list[str]] = defaultdict(list)
    for name, delete in deletions.items():
        try:
            deleted[name] = await delete()
        except AmrikyyError as error:
            failed[error.message].append(name)
        except Exception:
            log.exception("upkeep_failed", chores=[name])
    for reason, names in failed.items():
        log.error("upkeep_failed", chores=names, reason=reason)
    if len(deleted) == len(deletions):
        log.info("upkeep_done", **deleted)


async def sum_up(add_up: Callable[[], Awaitable[None]]) -> None:
    """Add the ledger up, every few seconds. A failure is logged once, and tried again the next time."""
    failing = False
    while True:
        await asyncio.sleep(SUM_UP_EVERY_S)
        try:
            await add_up()
        except Exception as error:
            if not failing:
                log.error(
                    "upkeep_failed", chores=["sums"], exc_info=not isinstance(error, AmrikyyError), reason=str(error)
                )
            failing = True
        else:
            failing = False


async def sample(runtime: Runtime) -> None:
    """Measure how late and how busy the event loop is, and update the gauges."""
    loop = asyncio.get_running_loop()
    while True:
        began, cpu_s = loop.time(), time.thread_time()
        await asyncio.sleep(SAMPLE_EVERY_S)
        took_s = loop.time() - began
        runtime.loop_lag_s = max(0.0, took_s - SAMPLE_EVERY_S)
        runtime.loop_load = (time.thread_time() - cpu_s) / took_s
        runtime.sample()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
