"""Bounds what a run may start by calling operations: how deep, and how many."""

from typing import Any

import structlog

from amrikyy.agents.agent import Operation
from amrikyy.errors import InternalError
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.run import Run

log = structlog.get_logger(__name__)

MAX_DEPTH = 16
"""The most runs within one another, the outermost included. What is meant to end needs a handful; what calls itself
without end wrote 10,000 runs before the server refused them, and everybody else's with them."""

MAX_CHILD_RUNS = 1000
"""The most runs that one run may start, with those that they start. Each is kept in memory and written to the database,
and a tenth of all that may wait to be written is enough for one caller."""


def lineage(run: Run, live: LiveRuns) -> list[Run]:
    """The run, the one that it is a part of, and so on to the outermost."""
    line = [run]
    while (parent_id := line[-1].parent_id) is not None and (parent := live.get(parent_id)) is not None:
        line.append(parent)
    return line


def count_call(line: list[Run], operation: Operation[Any, Any]) -> None:
    """Count a call by the first of this line.

    Raises:
        InternalError: it is too deep, or one too many (`too_many_runs`).
    """
    if len(line) >= MAX_DEPTH:
        raise endless(line, operation)
    outermost = line[-1]
    if outermost.child_runs >= MAX_CHILD_RUNS:
        raise _too_many(
            operation,
            f"The run {outermost.id} has started {MAX_CHILD_RUNS} others, which is the most that one may, and "
            f"{_key(line[0])} calls {operation.key} once more. Ask for less.",
        )
    outermost.child_runs += 1


def endless(line: list[Run], operation: Operation[Any, Any]) -> InternalError:
    """The error for an operation that would go on calling itself."""
    calls = " → ".join([*(_key(each) for each in reversed(line[:3])), operation.key])
    return _too_many(
        operation,
        f"The operation {operation.key} is called {len(line)} deep ({calls}), and would go on. Its author has to end "
        f"the recursion; {MAX_DEPTH} runs within one another are the most.",
    )


def _too_many(operation: Operation[Any, Any], message: str) -> InternalError:
    log.error("too_many_runs", operation=operation.key, reason=message)
    return InternalError(message, code="too_many_runs")


def _key(run: Run) -> str:
    return f"{run.agent}.{run.operation}"
