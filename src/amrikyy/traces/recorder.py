"""Records spans that have ended: describes and redacts them off the request's path, and writes them in batches."""

import asyncio
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import structlog

from amrikyy.db.behind import Behind
from amrikyy.errors import AmrikyyError
from amrikyy.telemetry.metrics import Metrics
from amrikyy.telemetry.spans import Clean, Ended
from amrikyy.traces.lines import log_spans
from amrikyy.traces.segment import Segment, segment_of
from amrikyy.traces.store import TraceStore

log = structlog.get_logger(__name__)

WRITE_AFTER_S = 1.0
"""How long a segment waits to be batched; reading traces in this process flushes first. Trace ids are random, so that
each transaction rewrites most pages of their index, whether for few segments or for many: with a tenth of a second and
all requests traced, that took more than everything else that a trace costs."""

BATCH = 2_500
"""Segments that are written in one transaction."""

SLICE_S = 0.004
"""How long segments are described without a break. One takes some 20 microseconds, with content milliseconds."""

MAX_PENDING = 10_000
"""Segments that may wait while the database is away or slow. Those beyond are dropped, and counted."""

MAX_DESCRIBED_BYTES = 64_000_000
"""Memory that waiting segments may take: with content, a single one may have megabytes."""

CLOSE_TIMEOUT_S = 2.0


class Exporter(Protocol):
    """Sends segments to another system."""

    name: str

    def put(self, segment: Segment) -> None:
        """Take a segment. Never waits, never fails."""
        ...

    @property
    def failing(self) -> bool:
        """Whether the last attempt to send failed."""
        ...

    async def close(self) -> None:
        """Send what waits, if that is quick."""
        ...


class Traces:
    """Stores spans that have ended, and passes them to exporters.

    Args:
        store: stores the segments.
        exporters: also receive each segment.
        metrics: counts what was delivered and lost.
        redact: applied to every text that a caller may have written.
        clean: applied to prompts and results; None if they are not kept.
        logged: whether each span is also written to the log.
    """

    def __init__(
        self,
        store: TraceStore,
        exporters: Sequence[Exporter],
        metrics: Metrics,
        redact: Clean,
        clean: Clean | None = None,
        *,
        logged: bool = False,
    ) -> None:
        self.store = store
        self.exporters = exporters
        self._metrics = metrics
        self._redact = redact
        self._clean = clean
        self._logged = logged
        self._ended: deque[Ended] = deque()
        self._described: deque[Segment] = deque()
        self._described_bytes = 0
        self._destinations = ("database", *(exporter.name for exporter in exporters))
        for name in self._destinations:  # so that the series start at zero
            metrics.traces_delivered.inc(name, by=0)
            metrics.traces_lost.inc(name, by=0)
        self._behind = Behind("traces", self.flush, after_s=WRITE_AFTER_S, changed=self._changed)

    @property
    def waiting(self) -> int:
        """How many segments are not in the database yet."""
        return len(self._ended) + len(self._described)

    @property
    def failing(self) -> list[str]:
        """The destinations that traces cannot be delivered to at the moment."""
        away = ["database"] if self._behind.failing else []
        return away + [exporter.name for exporter in self.exporters if exporter.failing]

    def put(self, ended: Ended) -> None:
        """Accept spans that have ended. Never waits, never fails."""
        if self.waiting < MAX_PENDING:
            self._ended.append(ended)
            self._behind.wake()
        else:
            for name in self._destinations:
                self._metrics.traces_lost.inc(name)

    async def flush(self) -> None:
        """Write all that is pending at the time of the call.

        Raises:
            Unavailable: the database cannot be reached; the writer tries again.
        """
        await self._behind.settled()
        if self.waiting:
            await self._behind.once(self._write_waiting)

    async def close(self) -> None:
        """Write what is pending, and stop."""
        if (reason := await self._behind.finish(self.flush, CLOSE_TIMEOUT_S)) is not None:
            self._metrics.traces_lost.inc("database", by=self.waiting)
            log.error("traces_not_kept", lost=self.waiting, reason=reason)
        await asyncio.gather(*(exporter.close() for exporter in self.exporters))

    def _describe(self) -> None:
        until = perf_counter() + SLICE_S
        while self._ended and perf_counter() < until:
            ended = self._ended.popleft()
            try:
                segment = segment_of(ended, self._redact, self._clean)
            except Exception:
                log.exception("trace_not_described")
                for name in self._destinations:
                    self._metrics.traces_lost.inc(name)
                continue
            if self._described_bytes + len(segment.spans) > MAX_DESCRIBED_BYTES:
                self._metrics.traces_lost.inc("database")
            else:
                self._described.append(segment)
                self._described_bytes += len(segment.spans)
            if self._logged:
                log_spans(segment)
            for exporter in self.exporters:
                exporter.put(segment)

    async def _write_waiting(self) -> None:
        while self._ended or self._described:
            while self._ended:  # all of them: exporters do not depend on the database
                self._describe()
                await asyncio.sleep(0)
            batch = [self._described.popleft() for _ in range(min(BATCH, len(self._described)))]
            if not batch:
                return
            size = sum(len(segment.spans) for segment in batch)
            self._described_bytes -= size
            try:
                await self.store.write(batch)
            except AmrikyyError:
                self._described.extendleft(reversed(batch))
                self._described_bytes += size
                raise
            except Exception:
                log.exception("traces_not_written")
                self._metrics.traces_lost.inc("database", by=len(batch))
            else:
                self._metrics.traces_delivered.inc("database", by=len(batch))

    def _changed(self, error: AmrikyyError | None) -> None:
        if error is not None:
            log.error("traces_cannot_be_kept", reason=error.message)
        else:
            log.info("traces_are_kept_again")
