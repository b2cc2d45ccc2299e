"""A segment: the spans of one trace that ended together in one process, described, redacted and summarised."""

from typing import Any, Literal, NamedTuple, cast

import msgspec

from amrikyy.telemetry.spans import Clean, Description, Ended, Kind, Span, Value

Status = Literal["completed", "failed", "cancelled", "refused"]

CODED = (
    "amrikyy.cache", "amrikyy.operation", "amrikyy.request.id", "amrikyy.run.id", "amrikyy.run.status",
    "amrikyy.step.path", "amrikyy.workflow.id", "amrikyy.workflow.strategy", "gen_ai.agent.name",
    "gen_ai.input.messages", "gen_ai.operation.name", "gen_ai.output.messages", "gen_ai.output.type",
    "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model", "gen_ai.system_instructions",
    "gen_ai.workflow.name", "http.request.method", "http.route", "user.id", "http.response.status_code",
    "gen_ai.aggregated_usage.input_tokens", "gen_ai.aggregated_usage.output_tokens", "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens", "gen_ai.usage.cost", "gen_ai.request.max_tokens", "gen_ai.request.temperature",
    "gen_ai.request.stream", "amrikyy.cost_usd", "amrikyy.attempt", "amrikyy.auth_ms", "amrikyy.limit_ms",
    "amrikyy.model_ms",
)  # fmt: skip
"""Attributes that are stored as their index here, which makes a row a third as long. So new ones must be appended.
Their values need no redaction: they are the server's own, or redacted already."""

_CODES = {key: code for code, key in enumerate(CODED)}


class SpanRecord(msgspec.Struct, frozen=True, gc=False):
    """A span in the form in which it is shown and exported.

    Attributes:
        began_ns, ended_ns: nanoseconds since 1970.
        error: the code of the error that it ended with.
        message: the message of that error.
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


class _Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A span in the form in which it is stored and handed to exporters."""

    id: int
    parent_id: int
    name: str
    kind: Kind
    began_ns: int
    took_ns: int
    attributes: dict[int | str, Value]
    error: str | None
    message: str


class Segment(NamedTuple):
    """The unit in which spans are stored.

    Attributes:
        agent, operation: of its last top-level run; None if there is none.
        model, input_tokens, output_tokens, cost_usd: of all its top-level runs together.
        is_of_agents: it has to do with an agent or a workflow.
        spans: the encoded spans, for `decode`.
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


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Stored]).decode


def decode(spans: bytes) -> list[SpanRecord]:
    """Decode the spans of a segment."""
    return [
        SpanRecord(
            f"{each.id:016x}",
            f"{each.parent_id:016x}" if each.parent_id else None,
            each.name,
            each.kind,
            each.began_ns,
            each.began_ns + each.took_ns,
            {CODED[key] if isinstance(key, int) else key: value for key, value in each.attributes.items()},
            each.error,
            each.message,
        )
        for each in _decode(spans)
    ]


def segment_of(ended: Ended, redact: Clean, clean: Clean | None) -> Segment:
    """Describe spans that have ended.

    Args:
        ended: the spans.
        redact: applied to every text that a caller may have written.
        clean: applied to prompts and results; None if they are not kept.
    """
    first = ended.spans[0]
    ended_ns = 0
    runs: list[tuple[Span, Description]] = []
    other: Description | None = None  # what summarises a segment without a run: a step or a workflow, or the request
    of_workflow = False
    stored: list[_Stored] = []
    for span in ended.spans:
        assert span.describe is not None
        told = span.describe(span.subject, clean)
        span.subject = None  # which may refer to the span
        attributes = told.attributes
        if attributes.get("gen_ai.operation.name") == "invoke_agent":
            runs.append((span, told))
        elif "amrikyy.workflow.id" in attributes:
            other, of_workflow = told, True
        elif span.began_ns <= first.began_ns and not of_workflow:
            other = told
        if span.began_ns < first.began_ns:
            first = span
        if span.ended_ns > ended_ns:
            ended_ns = span.ended_ns
        if ended.lost and span is ended.spans[-1]:
            attributes["amrikyy.spans_lost"] = ended.lost
        stored.append(_stored(span, told, redact))
    if len(runs) > 1:
        ids = {run.id for run, _ in runs}
        runs = sorted((each for each in runs if each[0].parent_id not in ids), key=lambda each: each[0].began_ns)
    # A request in plain words is two runs: the one that plans, and the one that the summary is of.
    last = runs[-1][1] if runs else other
    assert last is not None
    agent: Any = last.attributes.get("gen_ai.agent.name")
    operation: Any = last.attributes.get("amrikyy.operation")
    model, input_tokens, output_tokens, cost_usd = _used([run.attributes for _, run in runs])
    return Segment(
        trace_id=f"{ended.trace_id:032x}",
        agent=agent,
        operation=operation,
        model=model,
        status=_status(other if of_workflow and other is not None else last),
        began_ns=first.began_ns,
        ended_ns=ended_ns,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=cost_usd,
        is_of_agents=agent is not None or of_workflow,
        spans=_encode(stored),
    )


def _used(runs: list[dict[str, Any]]) -> tuple[str | None, int, int, float | None]:
    """The models, input and output tokens, and dollars of several runs together, from their attributes."""
    models: dict[str, None] = {}
    input_tokens, output_tokens = 0, 0
    cost_usd: float | None = 0.0
    for run in runs:
        if run["gen_ai.response.model"]:
            models[run["gen_ai.response.model"]] = None
        input_tokens += run["gen_ai.aggregated_usage.input_tokens"]
        output_tokens += run["gen_ai.aggregated_usage.output_tokens"]
        cost = run["amrikyy.cost_usd"]
        cost_usd = None if cost is None or cost_usd is None else cost_usd + cost
    return ",".join(models) or None, input_tokens, output_tokens, cost_usd


def _stored(span: Span, told: Description, redact: Clean) -> _Stored:
    name, kind, attributes, error, message = told
    kept: dict[int | str, Value] = {}
    for key, value in attributes.items():
        if value is None:
            continue
        code = _CODES.get(key)
        if code is not None:
            kept[code] = value
        else:
            kept[key] = redact(value) if isinstance(value, str) else value
    took_ns = span.ended_ns - span.began_ns
    return _Stored(
        span.id, span.parent_id, name, kind, span.began_ns, took_ns, kept, error, redact(message) if message else ""
    )


def _status(told: Description) -> Status:
    status = told.attributes.get("amrikyy.run.status")
    if status in ("completed", "failed", "cancelled"):
        return cast("Status", status)
    code = told.attributes.get("http.response.status_code")
    if isinstance(code, int) and 400 <= code < 500:
        return "refused"
    return "failed" if told.error is not None else "completed"
