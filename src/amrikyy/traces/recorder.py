"""From what has ended to where it is kept: described and redacted off the request's path, written in batches."""

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
"""How long a segment waits for company; who asks for traces here waits for none. Ids of traces are random, and so each
transaction writes most pages of their index anew, for a few segments as for many: at a tenth of a second and all
requests traced that was more than all else that a trace costs."""

BATCH = 2_500
"""Segments that are written in one transaction."""

SLICE_S = 0.004
"""How long segments are described without a break. One is some 20 microseconds, with content milliseconds."""

MAX_PENDING = 10_000
"""Segments that may wait while the database is away or slow. What comes beyond is lost, and counted."""

MAX_DESCRIBED_BYTES = 64_000_000
"""Of those that wait: with content one may have megabytes."""

CLOSE_TIMEOUT_S = 2.0


class Exporter(Protocol):
    """Sends segments elsewhere."""

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
    """Keeps what has ended, and passes it on to exporters.

    Args:
        store: where it is kept.
        exporters: where else it goes.
        metrics: is told what was delivered and lost.
        redact: what every text that a caller may have written goes through.
        clean: the same for prompts and results; None if they are not wanted.
        logged: whether each span is a line of the log, too.
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
        for name in self._destinations:  # so that there is a zero to begin from
            metrics.traces_delivered.inc(name, by=0)
            metrics.traces_lost.inc(name, by=0)
        self._behind = Behind("traces", self.flush, after_s=WRITE_AFTER_S, changed=self._changed)

    @property
    def waiting(self) -> int:
        """Segments that are not in the database yet."""
        return len(self._ended) + len(self._described)

    @property
    def failing(self) -> list[str]:
        """Where traces cannot be delivered at the moment."""
        away = ["database"] if self._behind.failing else []
        return away + [exporter.name for exporter in self.exporters if exporter.failing]

    def put(self, ended: Ended) -> None:
        """Take what has ended. Never waits, never fails."""
        if self.waiting < MAX_PENDING:
            self._ended.append(ended)
            self._behind.wake()
        else:
            for name in self._destinations:
                self._metrics.traces_lost.inc(name)

    async def flush(self) -> None:
        """Write what waits at the time of the call.

        Raises:
            Unavailable: the database cannot be reached; the writer tries again.
        """
        await self._behind.settled()
        if self.waiting:
            await self._behind.once(self._write_waiting)

    async def close(self) -> None:
        """Write what waits, and stop."""
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
            while self._ended:  # all of them, for exporters have nothing to do with the database
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
