"""Declares every metric: its name, labels and help, by Prometheus' conventions: seconds, dollars, `_total`."""

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from prometheus_client.metrics import Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import CollectorRegistry

from amrikyy.telemetry.families import CounterFamily, Family, GaugeFamily, HistogramFamily

F = TypeVar("F", bound=Family)

HTTP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""From a cached answer to the longest itinerary."""

MODEL_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)

FIRST_TOKEN_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""All other methods share one label value, because a caller can invent any number of them."""

NO_ROUTE = "(no route)"
"""The label of paths that match no route, and of requests that were refused before their path was matched."""


class Metrics:
    """The metrics of a process. Label values come from routes, agents, models and limits, never from a caller.

    With PROMETHEUS_MULTIPROC_DIR (set before this module is imported) the values are sums over all processes, in which
    those of other processes are at most two seconds old.

    Attributes:
        tell_workers: asks all worker processes, including this one, to call `zero`; None if there is only this one.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each: its time of creation
        self.registry = CollectorRegistry()
        self._families: list[Family] = []
        self.tell_workers: Callable[[], None] | None = None
        self.http_requests = self._counter("http_requests", "Total HTTP requests", "method", "route", "status")
        self.http_seconds = self._histogram(
            "http_request_duration_seconds", "Request duration, a stream's whole length included", HTTP_SECONDS,
            "method", "route",
        )  # fmt: skip
        self.streams = self._counter(
            "stream_sessions", "Total streaming sessions, by how they ended", "agent", "status"
        )
        self.streams_active = self._gauge("stream_sessions_active", "Active streams", "agent")
        self.stream_chunks = self._counter("stream_chunks", "Events written to streams", "agent")
        self.stream_seconds = self._histogram("stream_duration_seconds", "Length of streams", MODEL_SECONDS, "agent")
        self.first_token_seconds = self._histogram(
            "stream_time_to_first_token_seconds", "From the start of a run to its first token or partial object",
            FIRST_TOKEN_SECONDS, "agent",
        )  # fmt: skip
        self.model_calls = self._counter(
            "llm_calls", "Total LLM API calls, by outcome: ok, or the error's code", "model", "agent", "status"
        )
        self.model_seconds = self._histogram("llm_call_duration_seconds", "LLM call duration", MODEL_SECONDS, "model")
        self.model_tokens = self._counter("llm_tokens_used", "Total tokens used", "model", "agent", "type")
        self.model_dollars = self._counter("llm_cost_dollars", "Total cost in USD", "model", "agent")
        self.unpriced_calls = self._counter(
            "llm_unpriced_calls", "Calls of models whose price is not known, and so not in llm_cost_dollars_total",
            "model",
        )  # fmt: skip
        self.circuits_open = self._gauge("llm_circuit_open", "1 while a model is left alone", "model", mode="max")
        self.executions = self._counter(
            "agent_executions", "Total agent executions, by how they ended", "agent", "operation", "status"
        )
        self.execution_seconds = self._histogram(
            "agent_execution_duration_seconds", "Duration of agent executions", MODEL_SECONDS, "agent", "operation"
        )
        self.workflows = self._counter(
            "coordinator_workflows", "Total workflows, by how they ended", "strategy", "status"
        )
        self.workflow_seconds = self._histogram(
            "coordinator_workflow_duration_seconds", "Duration of workflows", MODEL_SECONDS, "strategy"
        )
        self.run_errors = self._counter(
            "run_errors", "Total runs that ended with an error, by the error's code", "agent", "code"
        )
        self.cache_operations = self._counter("cache_operations", "Total cache operations", "agent", "result")
        self.cache_hit_rate = self._gauge(
            "cache_hit_rate", "Share of requests for cacheable results that cost no model call, since the start",
            "agent", mode="mostrecent",
        )  # fmt: skip
        self.limit_hits = self._counter("rate_limit_hits", "Total requests that a rate limit refused", "limit")
        self.budget_refusals = self._counter(
            "budget_refusals", "Total calls that a budget did not cover", "subject", "period"
        )
        self.queue_length = self._gauge("run_queue_length", "Runs that wait for a slot")
        self.slots_taken = self._gauge("run_slots_taken", "Runs in progress")
        self.slots = self._gauge("run_slots", "Runs that may be in progress at a time")
        self.unrecorded = self._gauge("runs_unrecorded", "Runs whose present state is not in the database yet")
        self.database_up = self._gauge(
            "db_up", "1 while the database can be written to, 0 once that has failed, until it succeeds", mode="min"
        )
        self.database_up().set(1)
        self.queue_seconds = self._histogram("run_queue_wait_seconds", "How long runs waited for a slot", MODEL_SECONDS)
        self.loop_lag = self._gauge("event_loop_lag_seconds", "How late the event loop is", mode="max")
        self.tasks = self._gauge("asyncio_tasks", "Tasks on the event loop; a number that only grows is a leak")
        self.file_descriptors = self._gauge("open_file_descriptors", "Files and connections that are open")
        self.database_connections = self._gauge(
            "db_pool_connections", "Database connections: the server's own, and its workflow engine's", "pool", "state"
        )
        self.runs_shared = self._gauge(
            "runs_shared", "1 while all processes can take up this one's streams, 0 while Redis is away, NaN without",
            mode="min",
        )  # fmt: skip
        self.traces_delivered = self._counter(
            "traces_delivered", "Parts of traces that were stored, or taken by a collector", "destination"
        )
        self.traces_lost = self._counter(
            "traces_lost", "Parts of traces that were given up, because a destination was away or too slow",
            "destination",
        )  # fmt: skip
        self.redis_up = self._gauge(
            "redis_up", "1 while Redis is used, 0 while each process counts alone, NaN where none is configured",
            mode="min",
        )  # fmt: skip
        self.cpu_seconds = self._counter("process_cpu_seconds", "CPU time of all server processes")
        self.memory_bytes = self._gauge("process_resident_memory_bytes", "Memory of all server processes")

    def reset(self) -> None:
        """Reset the counters and histograms of all workers. To Prometheus it looks like a restart."""
        if self.tell_workers is not None:
            self.tell_workers()
        else:
            self.zero()

    def hand_over(self) -> None:
        """Hand all counts to the library; must be called before metrics are read."""
        for family in self._families:
            family.hand_over()

    def zero(self) -> None:
        """Zero the counters and histograms of this process; gauges, which show the present state, stay."""
        for family in self._families:
            family.zero()

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text for a scraper and its content type: OpenMetrics if `accept` asks for it. This takes milliseconds."""
        from prometheus_client.exposition import choose_encoder  # imported late: it loads HTTP servers, 1.7 MB

        encode, content_type = choose_encoder(accept)
        return encode(self._all()), content_type

    def values(self) -> list[dict[str, Any]]:
        """The metrics as JSON values; a counter has the name of its samples."""
        described = []
        for family in self._all().collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            values = [
                {"labels": sample.labels, "value": sample.value}
                | ({"metricName": sample.name} if sample.name != name else {})
                for sample in family.samples
            ]
            described.append({"name": name, "type": family.type, "help": family.documentation, "values": values})
        return described

    def _all(self) -> CollectorRegistry:
        if not _is_shared():
            return self.registry
        every_process = CollectorRegistry()
        MultiProcessCollector(every_process)  # type: ignore[no-untyped-call]  # prometheus-client is only partly typed
        return every_process

    def _counter(self, name: str, description: str, *labels: str) -> CounterFamily:
        counter = Counter(name, description, labels, registry=self.registry)
        return self._add(CounterFamily(counter))

    def _gauge(self, name: str, description: str, *labels: str, mode: str = "sum") -> GaugeFamily:
        live: Any = f"live{mode}"  # a process that has died no longer has streams
        gauge = Gauge(name, description, labels, registry=self.registry, multiprocess_mode=live)
        return self._add(GaugeFamily(gauge))

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...], *labels: str) -> HistogramFamily:
        histogram = Histogram(name, description, labels, buckets=buckets, registry=self.registry)
        return self._add(HistogramFamily(histogram, buckets))

    def _add(self, family: F) -> F:
        self._families.append(family)
        return family


def _is_shared() -> bool:
    """Whether several processes count into files, all of which the process that is asked reads."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


Sample = Callable[[Metrics], None]
"""Sets gauges to their present values."""


def names(metrics: Metrics) -> Iterator[str]:
    """The exposed name of each metric."""
    for family in metrics._families:
        metric = family.metric
        yield f"{metric._name}_total" if isinstance(metric, Counter) else metric._name
