"""Workflows on a database of the test's own, with agents that do what they are told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from pydantic import Field

from amrikyy.agents import Agent, Request, Result, RunContext
from amrikyy.agents.planner import Planner
from amrikyy.agents.registry import Registry
from amrikyy.agents.runner import Runner
from amrikyy.cache import Cache, MemoryCache
from amrikyy.db import Database
from amrikyy.errors import ModelOverloaded, NotFound, RateLimited
from amrikyy.llm import ModelsConfig, open_models
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.slots import Slots
from amrikyy.runs.store import RunRecords
from amrikyy.spend import Budgets
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Tracer
from amrikyy.workflows.workflows import Bounds, Workflows

OpenWorkflows = Callable[..., AbstractAsyncContextManager[Workflows]]


class Amount(Request):
    amount: int = Field(ge=0)
    label: str = ""


class Sum(Result):
    amount: int
    label: str = ""
    parts: list[int] = Field(default=[])


class Nothing(Request):
    pass


class Log:
    """What the agents of this test have done."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.charged: list[tuple[str, str]] = []
        self.failures = 0
        self.refused: str | None = None
        self.waiting = asyncio.Event()
        self.broken_off = 0

    async def charge(self, owner: str, operation: str) -> None:
        if operation == self.refused:
            raise RateLimited("Too many of these.", retry_after_s=1)
        self.charged.append((owner, operation))


agent = Agent("math", "Adds.")
other = Agent("words", "Says.")
done = Log()


@agent.operation()
async def increment(request: Amount, run: RunContext) -> Sum:
    """Add one."""
    done.calls.append("increment")
    return Sum(amount=request.amount + 1, label=request.label, parts=[request.amount, 1])


@agent.operation()
async def double(request: Amount, run: RunContext) -> Sum:
    """Double."""
    done.calls.append("double")
    return Sum(amount=2 * request.amount, label=request.label)


@agent.operation()
async def refuse(request: Nothing, run: RunContext) -> Sum:
    """Fail for good."""
    done.calls.append("refuse")
    raise NotFound("There is no such thing.")


@agent.operation()
async def stumble(request: Nothing, run: RunContext) -> Sum:
    """Fail as often as it has been told."""
    done.calls.append("stumble")
    if done.failures:
        done.failures -= 1
        raise ModelOverloaded("Too busy.", model="test")
    return Sum(amount=1)


@agent.operation()
async def wait(request: Nothing, run: RunContext) -> Sum:
    """Wait until it is stopped."""
    done.calls.append("wait")
    done.waiting.set()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        done.broken_off += 1
        raise
    return Sum(amount=0)


@agent.operation()
async def fill(request: Amount, run: RunContext) -> Sum:
    """Put out that many characters."""
    return Sum(amount=0, label="x" * request.amount)


@other.operation()
async def shout(request: Amount, run: RunContext) -> Sum:
    """Say it loudly."""
    done.calls.append("shout")
    return Sum(amount=request.amount, label=request.label.upper())


@pytest.fixture
def log() -> Log:
    done.__init__()  # type: ignore[misc]  # the agents know this one
    return done


@pytest.fixture
def registry() -> Registry:
    return Registry([agent, other])


@pytest.fixture
async def runner(database: Database) -> AsyncIterator[Runner]:
    models = open_models(ModelsConfig(models="offline", offline_tokens_per_s=0))
    records = RunRecords(database)
    runner = Runner(
        models, Cache(MemoryCache(1_000_000)), LiveRuns(60), records, Slots(100, 100), Metrics(), timeout_s=60
    )
    yield runner
    await runner.close()
    await records.close()
    await models.close()


def workflows_on(
    database: Database, database_url: str, runner: Runner, registry: Registry, bounds: Bounds | None = None
) -> Workflows:
    return Workflows(
        database,
        database_url,
        runner,
        registry,
        Planner(registry, runner, home_airport="JFK"),
        done.charge,
        Budgets(database),
        runner.metrics,
        Tracer(0),
        bounds or Bounds(),
    )


@pytest.fixture
def open_workflows(database: Database, database_url: str, runner: Runner, registry: Registry) -> OpenWorkflows:
    @asynccontextmanager
    async def opened(bounds: Bounds | None = None) -> AsyncIterator[Workflows]:
        workflows = workflows_on(database, database_url, runner, registry, bounds)
        await workflows.open()
        try:
            yield workflows
        finally:
            await workflows.close()

    return opened


@pytest.fixture
async def workflows(open_workflows: OpenWorkflows, log: Log) -> AsyncIterator[Workflows]:
    async with open_workflows() as opened:
        yield opened
