"""`/api/runs`: the runs of a caller."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from amrikyy.agents.agent import Request
from amrikyy.auth.roles import Permission
from amrikyy.errors import NotFound, Unavailable
from amrikyy.runs.record import RunRecord
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.paging import NextCursor, page_cursor, page_limit, page_of
from amrikyy.web.replies import Success, TokenUsage, Wire, dollars
from amrikyy.web.stream import visible_to


class RunError(Wire):
    """Why a run failed."""

    error: str
    code: str
    message: str
    details: list[dict[str, Any]]


class RunInfo(Wire):
    """A run without its input and output."""

    id: str
    agent: str
    operation: str
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    model: str | None
    usage: TokenUsage
    cost_usd: float | None = Field(description="US dollars, child runs included; null when a price is not known.")
    cached: bool
    started_at: datetime
    duration_ms: float | None = Field(description="Null while it runs.")
    parent_id: str | None = Field(description="The run that this one is a part of.")
    events: int = Field(description="How many events it has.")


class RunDetail(RunInfo):
    """A run, whole."""

    request: dict[str, Any] | None
    result: Any | None
    error: RunError | None


class RunReply(Success):
    """One run."""

    run: RunDetail


class RunPage(Success):
    """A page of runs, newest first."""

    count: int
    runs: list[RunInfo]
    next_cursor: NextCursor


class RunQuery(Request):
    """Which runs to list."""

    agent: str | None = Field(default=None, max_length=64)
    operation: str | None = Field(default=None, max_length=64)
    status: Literal["queued", "running", "completed", "failed", "cancelled"] | None = None
    parent_id: str | None = Field(default=None, max_length=64)
    cursor: str | None = page_cursor(r"^run_[0-9a-f]+$")
    limit: int = page_limit()


async def list_runs(call: Call) -> Answer:
    """List the caller's runs; with agent:manage, everybody's."""
    query: RunQuery = call.query
    records = await call.runtime.records.page(
        owner=visible_to(call),
        agent=query.agent,
        operation=query.operation,
        status=query.status,
        parent_id=query.parent_id,
        before=query.cursor,
        limit=query.limit + 1,
    )
    page, next_cursor = page_of(records, query.limit)
    return RunPage(count=len(page), runs=[RunInfo(**_fields(record)) for record in page], next_cursor=next_cursor)


async def get_run(call: Call) -> Answer:
    """One run of the caller's."""
    record = await call.runtime.records.get(call.params["runId"], owner=visible_to(call))
    call.exchange.run_id = record.id
    return RunReply(
        run=RunDetail(
            **_fields(record),
            request=record.request,
            result=record.result,
            error=RunError(**record.error) if record.error else None,
        )
    )


def _fields(record: RunRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "agent": record.agent,
        "operation": record.operation,
        "status": record.status,
        "model": record.model,
        "usage": TokenUsage(
            prompt_tokens=record.input_tokens,
            completion_tokens=record.output_tokens,
            total_tokens=record.input_tokens + record.output_tokens,
            usage_estimated=record.usage_estimated,
        ),
        "cost_usd": dollars(record.cost_usd),
        "cached": record.cached,
        "started_at": record.started_at,
        "duration_ms": record.duration_ms,
        "parent_id": record.parent_id,
        "events": record.events,
    }


RUNS = [
    Endpoint(
        method="GET", path="/api/runs", handler=list_runs, needs=Permission.AGENT_READ, tag="Runs",
        summary="List runs, newest first", query=RunQuery, answer=RunPage, errors=(Unavailable,),
        description="Your own runs; with the permission agent:manage, everybody's.",
    ),
    Endpoint(
        method="GET", path="/api/runs/{runId}", handler=get_run, needs=Permission.AGENT_READ, tag="Runs",
        summary="Look up a run", answer=RunReply, errors=(NotFound, Unavailable),
    ),
]  # fmt: skip
