"""Traces as the settings want them: where they are kept, where they are sent, what is taken out of them."""

import os
import socket

from amrikyy import __version__
from amrikyy.db import Database
from amrikyy.http_client import HttpClient
from amrikyy.settings import ConfigurationError, Settings, reveal
from amrikyy.telemetry.metrics import Metrics
from amrikyy.traces import OtlpExporter, Redactor, Traces, TraceStore

CONNECTIONS = 1
"""Of an exporter: it sends one request at a time."""


def open_traces(settings: Settings, database: Database, metrics: Metrics) -> Traces:
    """Begin to keep and to send what is traced.

    Raises:
        ConfigurationError: REDACT_PATTERNS cannot be used.
    """
    try:
        redactor = Redactor(settings.redact_patterns)
    except ValueError as error:
        raise ConfigurationError(f"REDACT_PATTERNS: {error}.") from None
    return Traces(
        TraceStore(database, max_segments=settings.trace_max, sealer=settings.sealer()),
        _exporters(settings, metrics),
        metrics,
        redactor,
        redactor.whole if settings.otel_instrumentation_genai_capture_message_content else None,
    )


def _exporters(settings: Settings, metrics: Metrics) -> list[OtlpExporter]:
    timeout_s = settings.otel_exporter_otlp_timeout / 1000
    resource = {
        "service.name": settings.otel_service_name,
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "deployment.environment.name": settings.app_env,
    }
    exporters: list[OtlpExporter] = []
    if settings.langsmith_api_key is not None:
        url = f"{settings.langsmith_endpoint.rstrip('/')}/otel/v1/traces"
        headers = {
            "x-api-key": reveal(settings.langsmith_api_key) or "",
            "Langsmith-Project": settings.langsmith_project,
        }
        exporters.append(
            OtlpExporter(
                "langsmith", url, headers, HttpClient(max_connections=CONNECTIONS), metrics, resource,
                timeout_s=timeout_s, only_agents=True,
            )
        )  # fmt: skip
    if settings.otel_exporter_otlp_endpoint is not None:
        url = f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"
        exporters.append(
            OtlpExporter(
                "otlp", url, settings.otlp_headers, HttpClient(max_connections=CONNECTIONS), metrics, resource,
                timeout_s=timeout_s,
            )
        )  # fmt: skip
    return exporters
