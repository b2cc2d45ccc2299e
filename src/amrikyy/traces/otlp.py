"""Encodes segments as OTLP, OpenTelemetry's wire format. Imported in a thread, and only if traces are exported."""

from collections.abc import Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from amrikyy import __version__
from amrikyy.telemetry.spans import Value
from amrikyy.traces.segment import decode

SCOPE = "amrikyy"

_KINDS = {
    "internal": Span.SPAN_KIND_INTERNAL,
    "server": Span.SPAN_KIND_SERVER,
    "client": Span.SPAN_KIND_CLIENT,
}


def encode_request(batch: Sequence[tuple[str, bytes]], resource: dict[str, str]) -> bytes:
    """The body of an export request.

    Args:
        batch: trace ids, each with the spans of a segment as it encodes them.
        resource: the attributes of this server, by OpenTelemetry's conventions.
    """
    request = ExportTraceServiceRequest()
    spans_of = request.resource_spans.add()
    spans_of.resource.attributes.extend(_attribute(key, value) for key, value in resource.items())
    scope = spans_of.scope_spans.add()
    scope.scope.name, scope.scope.version = SCOPE, __version__
    for trace_id, spans in batch:
        for record in decode(spans):
            span = scope.spans.add(
                trace_id=bytes.fromhex(trace_id),
                span_id=bytes.fromhex(record.id),
                parent_span_id=bytes.fromhex(record.parent_id or ""),
                name=record.name,
                kind=_KINDS[record.kind],
                start_time_unix_nano=record.began_ns,
                end_time_unix_nano=record.ended_ns,
                attributes=[_attribute(key, value) for key, value in record.attributes.items()],
            )
            if record.error is not None:
                span.attributes.append(_attribute("error.type", record.error))
                span.status.code = Status.STATUS_CODE_ERROR
                span.status.message = record.message
    body: bytes = request.SerializeToString()
    return body


def _attribute(key: str, value: Value) -> KeyValue:
    if isinstance(value, bool):
        wire = AnyValue(bool_value=value)
    elif isinstance(value, int):
        wire = AnyValue(int_value=value)
    elif isinstance(value, float):
        wire = AnyValue(double_value=value)
    else:
        wire = AnyValue(string_value=value)
    return KeyValue(key=key, value=wire)
