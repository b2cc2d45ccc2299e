"""Between an execution and the cache: what is kept of an execution, and how it is replayed."""

import time
from typing import Any

from amrikyy.agents.agent import Operation
from amrikyy.cache import Entry
from amrikyy.runs.events import Delta, Event
from amrikyy.runs.execution import Execution, Outcome


def entry_of(operation: Operation[Any, Any], execution: Execution) -> Entry:
    """What the cache keeps of a successful execution."""
    assert execution.outcome is not None
    assert execution.outcome.result is not None
    return Entry(
        model=execution.spent.model,
        result=execution.outcome.result,
        pieces=tuple([event.data for event in execution.events if event.kind == "token"]),
        stored_at=time.time(),
        fresh_s=operation.cache_for.total_seconds(),
        stale_s=operation.stale_for.total_seconds(),
    )


def play(operation: Operation[Any, Any], entry: Entry, execution: Execution, *, similar: bool = False) -> None:
    """Let an execution that has begun continue and end as the cached one did.

    A text is written in its pieces; any other result is one whole partial object. `similar`: the request was another.
    """
    execution.cached = "similar" if similar else "hit" if entry.is_fresh else "stale"
    execution.spent.models = tuple(entry.model.split(",")) if entry.model else ()
    if operation.writes_text:
        execution.events.extend(Event("token", piece) for piece in entry.pieces)
    else:
        execution.partial_type = operation.result_type
        execution.events.append(Event("partial", Delta(entry.result.decode(), restarts=True)))
    execution.events.append(Event("progress", (100, "Done")))
    execution.end(Event("completed"), Outcome(result=entry.result))
