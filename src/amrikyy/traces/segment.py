"""A segment: the spans of one trace that ended together in one process, described, redacted and summed up."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import msgspec

from amrikyy.telemetry.spans import Clean, Ended, Kind, Span, Value

Status = Literal["completed", "failed", "cancelled", "refused"]

CLEAN = frozenset(
    {
        "amrikyy.cache", "amrikyy.operation", "amrikyy.request.id", "amrikyy.run.id", "amrikyy.run.status",
        "amrikyy.step.path",
        "amrikyy.workflow.id", "amrikyy.workflow.strategy", "gen_ai.agent.name", "gen_ai.input.messages",
        "gen_ai.operation.name", "gen_ai.output.messages", "gen_ai.output.type", "gen_ai.provider.name",
        "gen_ai.request.model", "gen_ai.response.model", "gen_ai.system_instructions", "http.request.method",
        "gen_ai.workflow.name", "http.route", "user.id",
    }
)  # fmt: skip
"""Attributes that need no redaction: the server's own words, and what has been through it."""


class SpanRecord(msgspec.Struct, array_like=True, frozen=True):
    """A span as it is kept and exported.

    Attributes:
        began_ns, ended_ns: since 1970.
        error: the code of the error that it ended with.
        message: what the error said.
    """

    id: str
    parent_id: str | None
    name: str
    kind: Kind
    began_ns: int
    ended_ns: int
    attributes: dict[str, Value]
    error: str | None
    message: str


class Segment(NamedTuple):
    """What is kept together.

    Attributes:
        agent, operation: of the run that is a part of no other; None if there is none.
        model, input_tokens, output_tokens, cost_usd: of such runs together.
        is_of_agents: a run or a workflow has to do with it.
        spans: encoded, from `encode`.
    """

    trace_id: str
    agent: str | None
    operation: str | None
    model: str | None
    status: Status
    began_ns: int
    ended_ns: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    is_of_agents: bool
    spans: bytes


encode = msgspec.json.Encoder().encode
decode: Callable[[bytes], list[SpanRecord]] = msgspec.json.Decoder(list[SpanRecord]).decode


def segment_of(ended: Ended, redact: Clean, clean: Clean | None) -> Segment:
    """Put what has ended into words.

    Args:
        ended: the spans.
        redact: what every text that a caller may have written goes through.
        clean: the same for prompts and results, if they are wanted.
    """
    records = [_record(span, redact, clean) for span in ended.spans]
    first = min(records, key=lambda record: record.began_ns)
    if ended.lost:
        first.attributes["amrikyy.spans_lost"] = ended.lost
    runs = [record for record in records if record.attributes.get("gen_ai.operation.name") == "invoke_agent"]
    outer = runs
    if len(runs) > 1:
        ids = {run.id for run in runs}
        outer = sorted((run for run in runs if run.parent_id not in ids), key=lambda run: run.began_ns)
    # A request in words is two runs: the one that plans, and the one that is told of.
    told = outer[-1] if outer else first
    step = next((record for record in records if "amrikyy.step.path" in record.attributes), None)
    agent, operation = told.attributes.get("gen_ai.agent.name"), told.attributes.get("amrikyy.operation")
    used = [_used(run.attributes) for run in outer]
    costs = [cost_usd for _, _, _, cost_usd in used]
    return Segment(
        trace_id=f"{ended.trace_id:032x}",
        agent=str(agent) if agent is not None else None,
        operation=str(operation) if operation is not None else None,
        model=",".join(dict.fromkeys(model for model, _, _, _ in used if model)) or None,
        status=_status(step or told),
        began_ns=first.began_ns,
        ended_ns=max(record.ended_ns for record in records),
        input_tokens=sum(each[1] for each in used),
        output_tokens=sum(each[2] for each in used),
        cost_usd=None if None in costs else sum(cost_usd for cost_usd in costs if cost_usd is not None),
        is_of_agents=agent is not None or any("amrikyy.workflow.id" in record.attributes for record in records),
        spans=encode(records),
    )


def _used(attributes: dict[str, Any]) -> tuple[str, int, int, float | None]:
    """The model, tokens in and out, and dollars of a run."""
    return (
        attributes.get("gen_ai.response.model", ""),
        attributes["gen_ai.aggregated_usage.input_tokens"],
        attributes["gen_ai.aggregated_usage.output_tokens"],
        attributes.get("amrikyy.cost_usd"),
    )


def _record(span: Span, redact: Clean, clean: Clean | None) -> SpanRecord:
    assert span.describe is not None
    name, kind, attributes, error, message = span.describe(span.subject, clean)
    for key in [key for key, value in attributes.items() if value is None]:
        del attributes[key]
    for key in attributes.keys() - CLEAN:
        if isinstance(value := attributes[key], str):
            attributes[key] = redact(value)
    return SpanRecord(
        f"{span.id:016x}",
        f"{span.parent_id:016x}" if span.parent_id else None,
        name,
        kind,
        span.began_ns,
        span.ended_ns,
        cast("dict[str, Value]", attributes),
        error,
        redact(message) if message else "",
    )


def _status(record: SpanRecord) -> Status:
    status = record.attributes.get("amrikyy.run.status")
    if status in ("completed", "failed", "cancelled"):
        return cast("Status", status)
    code = record.attributes.get("http.response.status_code")
    if isinstance(code, int) and 400 <= code < 500:
        return "refused"
    return "failed" if record.error is not None else "completed"
