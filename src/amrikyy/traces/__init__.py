"""Traces: described, redacted, kept in the database for a while, and exported over OTLP."""

from amrikyy.traces.export import OtlpExporter
from amrikyy.traces.recorder import Traces
from amrikyy.traces.redaction import Redactor
from amrikyy.traces.segment import SpanRecord
from amrikyy.traces.store import TraceStore, TraceSummary

__all__ = ["OtlpExporter", "Redactor", "SpanRecord", "TraceStore", "TraceSummary", "Traces"]
