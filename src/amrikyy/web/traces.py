"""`/api/agents/{agent}/traces`: recent traces, with the duration of each part and the cost."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from amrikyy.agents.registry import Registry
from amrikyy.auth.roles import Permission
from amrikyy.errors import NotFound, Unavailable
from amrikyy.traces import SpanRecord, TraceSummary
from amrikyy.web.endpoint import Answer, Call, Endpoint
from amrikyy.web.paging import page_limit
from amrikyy.web.replies import Success, Wire, dollars

TraceStatus = Literal["completed", "failed", "cancelled", "refused"]

MAX_DEPTH = 100
"""The greatest depth of a tree of spans: the JSON encoder goes no deeper than some 200 levels."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LIST = (
    "Newest first: requests of the agent's operations, steps of workflows, and what was refused. One appears within "
    "half a second of its end. OTEL_TRACES_SAMPLER_ARG is the share of requests that are traced; the answer to one "
    "that is has its id in `x-trace-id`."
)


class TraceQuery(BaseModel):
    """How many."""

    model_config = ConfigDict(extra="forbid")

    limit: int = page_limit()


class TraceTokens(Wire):
    """Tokens that models used."""

    input: int
    output: int


class TraceInfo(Wire):
    """A trace in a few words."""

    id: str
    operation: str | None
    model: str | None = Field(description="The model that answered; several are separated by commas.")
    status: TraceStatus = Field(description="The worst status of its parts; `refused` is a 4xx before anything began.")
    started_at: datetime
    duration_ms: float
    tokens: TraceTokens
    cost_usd: float | None = Field(description="US dollars; null when a price is not known.")


class TraceList(Success):
    """The newest traces that an agent had a part in."""

    agent: str
    count: int
    traces: list[TraceInfo]


class TraceSpan(Wire):
    """A part of a trace, with its own parts."""

    id: str
    parent_id: str | None = Field(description="At the top, null or the caller's own span.")
    name: str
    kind: Literal["internal", "server", "client"]
    status: Literal["ok", "error"]
    error: str | None = Field(description="The error's code.")
    message: str
    started_at: datetime
    duration_ms: float
    attributes: dict[str, str | int | float | bool] = Field(
        description="Named by OpenTelemetry's semantic conventions; `amrikyy.…` are this server's own."
    )
    children: list["TraceSpan"]


class WholeTrace(TraceInfo):
    """A whole trace, with the parts of all agents."""

    spans: list[TraceSpan] = Field(description="The spans at the top of the tree, with their children in them.")


class TraceReply(Success):
    """One trace."""

    agent: str
    trace: WholeTrace


def trace_endpoints(registry: Registry) -> list[Endpoint]:
    """The routes of this module."""

    async def listing(call: Call) -> Answer:
        agent = registry[call.params["agent"]].name
        traces = call.runtime.traces
        await traces.flush()
        found = await traces.store.page(agent, call.query.limit)
        return TraceList(agent=agent, count=len(found), traces=[TraceInfo(**_info(each)) for each in found])

    async def whole(call: Call) -> Answer:
        agent = registry[call.params["agent"]].name
        traces = call.runtime.traces
        await traces.flush()
        summary, spans = await traces.store.get(call.params["traceId"].lower(), agent)
        return TraceReply(agent=agent, trace=WholeTrace(**_info(summary), spans=tree(spans)))

    see = Permission.AGENT_STATS
    return [
        Endpoint(method="GET", path="/api/agents/{agent}/traces", handler=listing, needs=see, tag="Agents",
                 summary="Recent traces", description=_LIST, query=TraceQuery, answer=TraceList,
                 errors=(NotFound, Unavailable)),
        Endpoint(method="GET", path="/api/agents/{agent}/traces/{traceId}", handler=whole, needs=see, tag="Agents",
                 summary="A trace with its spans", answer=TraceReply, errors=(NotFound, Unavailable),
                 description="The trace of a workflow includes the steps that other agents and other processes did."),
    ]  # fmt: skip


def tree(records: Sequence[SpanRecord]) -> list[TraceSpan]:
    """Spans with their children, in the order of time. One whose parent is missing or too deep is at the top level."""
    spans = {record.id: _span(record) for record in records}
    children: defaultdict[str | None, list[TraceSpan]] = defaultdict(list)
    for span in spans.values():
        children[span.parent_id if span.parent_id in spans else None].append(span)
    top: list[TraceSpan] = []
    placed: set[str] = set()

    def place(span: TraceSpan) -> None:
        top.append(span)
        placed.add(span.id)
        waiting = [(span, 1)]
        while waiting:
            parent, depth = waiting.pop()
            for child in children[parent.id]:
                if child.id not in placed and depth < MAX_DEPTH:
                    parent.children.append(child)
                    placed.add(child.id)
                    waiting.append((child, depth + 1))

    for span in children[None]:
        place(span)
    for span in spans.values():  # callers may choose ids, so that spans may be their own ancestors, or very deep
        if span.id not in placed:
            place(span)
    return sorted(top, key=lambda span: span.started_at)


def _info(summary: TraceSummary) -> dict[str, Any]:
    return {
        "id": summary.id,
        "operation": summary.operation,
        "model": summary.model,
        "status": summary.status,
        "started_at": summary.started_at,
        "duration_ms": summary.duration_ms,
        "tokens": TraceTokens(input=summary.input_tokens, output=summary.output_tokens),
        "cost_usd": dollars(summary.cost_usd),
    }


def _span(record: SpanRecord) -> TraceSpan:
    return TraceSpan(
        id=record.id,
        parent_id=record.parent_id,
        name=record.name,
        kind=record.kind,
        status="ok" if record.error is None else "error",
        error=record.error,
        message=record.message,
        started_at=_EPOCH + timedelta(microseconds=record.began_ns // 1000),
        duration_ms=round((record.ended_ns - record.began_ns) / 1e6, 3),
        attributes=record.attributes,
        children=[],
    )
