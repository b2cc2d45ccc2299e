"""Traces as the settings want them: where they are kept, where they are sent, what is taken out of them."""

import os
import socket

from amrikyy import __version__
from amrikyy.db import Database
from amrikyy.http_client import HttpClient, encode_headers
from amrikyy.runtime.proxy import proxy_of
from amrikyy.settings import ConfigurationError, Settings
from amrikyy.telemetry.metrics import Metrics
from amrikyy.traces import OtlpExporter, Redactor, Traces, TraceStore

CONNECTIONS = 1
"""Of an exporter: it sends one request at a time."""


def open_traces(settings: Settings, database: Database, metrics: Metrics) -> Traces:
    """Begin to keep and to send what is traced.

    Raises:
        ConfigurationError: REDACT_PATTERNS, or a header for a collector, cannot be used.
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
        logged=settings.least_logged == "debug",
    )


def _exporters(settings: Settings, metrics: Metrics) -> list[OtlpExporter]:
    timeout_s = settings.otel_exporter_otlp_timeout / 1000
    resource = {
        "service.name": settings.otel_service_name,
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "deployment.environment.name": settings.app_env,
    }

    def exporter(name: str, variable: str, url: str, headers: dict[str, str], *, only_agents: bool) -> OtlpExporter:
        try:
            encode_headers(headers)
        except ValueError as error:
            raise ConfigurationError(f"{variable} cannot be sent: {error}.") from None
        http = HttpClient(max_connections=CONNECTIONS, proxy=proxy_of(settings))
        return OtlpExporter(name, url, headers, http, metrics, resource, timeout_s=timeout_s, only_agents=only_agents)

    exporters: list[OtlpExporter] = []
    if settings.langsmith_api_key is not None:
        key = settings.langsmith_api_key.get_secret_value()
        headers = {"x-api-key": key, "Langsmith-Project": settings.langsmith_project}
        url = f"{settings.langsmith_endpoint.rstrip('/')}/otel/v1/traces"
        exporters.append(exporter("langsmith", "LANGSMITH_API_KEY", url, headers, only_agents=True))
    if settings.otel_exporter_otlp_endpoint is not None:
        url = f"{settings.otel_exporter_otlp_endpoint.rstrip('/')}/v1/traces"
        headers = settings.otlp_headers
        exporters.append(exporter("otlp", "OTEL_EXPORTER_OTLP_HEADERS", url, headers, only_agents=False))
    return exporters
