"""What a server holds: memory, descriptors, threads, tasks, connections; and whether it grows."""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.candidates import Running
from bench.processes import busy_s


@dataclass(frozen=True, slots=True)
class Sample:
    """The server at one moment.

    Attributes:
        at_s: seconds since the load began.
        rss_mb: resident memory.
        fds, sockets: open descriptors, and how many of them are sockets.
        threads: of the process.
        tasks, slots, streams: from the server's metrics: tasks on its event loop, runs in progress, open streams.
        cpu_s, core_s: CPU time of the server, and of everything on its core, so far.
    """

    at_s: float
    rss_mb: float
    fds: int
    sockets: int
    threads: int
    tasks: int
    slots: int
    streams: int
    cpu_s: float
    core_s: float


def take(server: Running, began: float) -> Sample:
    """Take a sample of the server. Its metrics are asked for over HTTP; it samples them every two seconds."""
    pid = server.process.pid
    fds = sockets = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets += str(link.readlink()).startswith("socket:")
            fds += 1
        except OSError:
            continue  # closed meanwhile
    metrics = _metrics(server.port)
    return Sample(
        at_s=time.perf_counter() - began,
        rss_mb=server.process.resident_bytes / 1e6,
        fds=fds,
        sockets=sockets,
        threads=len(list(Path(f"/proc/{pid}/task").iterdir())),
        tasks=int(metrics["asyncio_tasks"]),
        slots=int(metrics["run_slots_taken"]),
        streams=int(metrics["stream_sessions_active"]),
        cpu_s=server.process.cpu_s,
        core_s=busy_s(server.candidate.core),
    )


def slope_mb_per_h(samples: Sequence[Sample]) -> float:
    """How fast memory grows, fitted by least squares."""
    line = statistics.linear_regression([each.at_s for each in samples], [each.rss_mb for each in samples])
    return line.slope * 3600


def p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds."""
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


def _metrics(port: int) -> dict[str, float]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/api/metrics/json")
        described: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return {each["name"]: sum(value["value"] or 0 for value in each["values"]) for each in described["metrics"]}
