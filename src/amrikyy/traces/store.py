"""Stores traces in the database: written in batches, bounded in number and age, read by agent or by id."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from random import getrandbits
from time import time_ns
from typing import Any

from sqlalchemy import Row, delete, func, select

from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.engine import Database, Dialect
from amrikyy.db.purge import purge
from amrikyy.db.sealed import seal_row, unseal_row
from amrikyy.db.tables import trace_segments as segments
from amrikyy.errors import NotFound
from amrikyy.sealing import PLAIN, Sealer
from amrikyy.traces.segment import Segment, SpanRecord, decode

MAX_SPANS = 5_000
MAX_BYTES = 16_000_000
"""The most spans of one trace, and their bytes, that are read: a caller may put any number of requests into a trace."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORST = ("failed", "cancelled", "refused", "completed")
_SUMMARY = [column for column in segments.columns if column.name != "spans"]

_WRITTEN = (
    "id", "trace_id", "agent", "operation", "model", "status", "began_us", "ended_us", "input_tokens", "output_tokens",
    "cost_usd", "spans",
)  # fmt: skip
"""The columns in the order of `TraceStore._row`."""


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """A trace, or one agent's part of it.

    Attributes:
        operation: the operation that began first.
        model: all models that answered, separated by commas.
        status: the worst status of its parts.
        cost_usd: US dollars; None if the price of a part is not known.
    """

    id: str
    operation: str | None
    model: str | None
    status: str
    started_at: datetime
    duration_ms: float
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class TraceStore:
    """Writes and reads the `trace_segments` table.

    Args:
        database: has the table.
        max_segments: how many are kept; the oldest are deleted first.
        sealer: seals the spans.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_segments: int,
        sealer: Sealer = PLAIN,
    ) -> None:
        self._database = database
        self._max_segments = max_segments
        self._sealer = sealer
        self._untrimmed = 0

    async def write(self, batch: Sequence[Segment]) -> None:
        """Write segments, and delete the oldest if there are too many.

        Raises:
            Unavailable: the database cannot be reached.
        """
        rows = [self._row(each) for each in batch]
        self._untrimmed += len(rows)
        trims = self._untrimmed >= max(1, self._max_segments // 20)
        async with self._database.begin() as connection:
            await connection.exec_driver_sql(_insert(self._database.dialect), rows)
            if trims:
                beyond = select(segments.c.id).order_by(segments.c.id.desc()).offset(self._max_segments).limit(1)
                await connection.execute(delete(segments).where(segments.c.id <= beyond.scalar_subquery()))
        if trims:
            self._untrimmed = 0

    def _row(self, segment: Segment) -> tuple[Any, ...]:
        segment_id, spans = _new_id(), segment.spans
        if self._sealer.key_id is not None:
            spans = seal_row(self._sealer, segments, {"id": segment_id, "spans": spans})["spans"]
        return (
            segment_id,
            segment.trace_id,
            segment.agent,
            segment.operation,
            segment.model,
            segment.status,
            segment.began_ns // 1000,
            segment.ended_ns // 1000,
            segment.input_tokens,
            segment.output_tokens,
            segment.cost_usd,
            spans,
        )

    async def page(self, agent: str, limit: int) -> list[TraceSummary]:
        """The newest traces that an agent took part in, with its part of them.

        Raises:
            Unavailable: the database cannot be reached.
        """
        async with self._database.connect() as connection:
            ids = await _newest(connection, agent, limit)
            # Only by trace id: otherwise SQLite would choose to read all segments of the agent.
            parts = select(*_SUMMARY).where(segments.c.trace_id.in_(ids))
            rows = (await connection.execute(parts)).all() if ids else []
        by_id: dict[str, list[Row[Any]]] = {trace_id: [] for trace_id in ids}
        for row in rows:
            if row.agent == agent:
                by_id[row.trace_id].append(row)
        return [_summary(found) for found in by_id.values() if found]

    async def get(self, trace_id: str, agent: str) -> tuple[TraceSummary, list[SpanRecord]]:
        """A whole trace, including other agents' parts and the requests around them: its summary, and its spans in the
        order of time.

        Raises:
            NotFound: there is no such trace, or the agent took no part in it.
            Unavailable: the database cannot be reached.
        """
        size = func.length(segments.c.spans).label("size")
        mine = segments.c.trace_id == trace_id
        query = select(*_SUMMARY, size).where(mine).order_by(segments.c.id).limit(MAX_SPANS)
        async with self._database.connect() as connection:
            rows: list[Row[Any]] = [*await connection.execute(query)]
            if not any(row.agent == agent for row in rows):
                raise NotFound(
                    f"There is no such trace of the agent {agent} here: it was not sampled, or it is too old.",
                    code="trace_not_found",
                )
            read = select(segments.c.id, segments.c.spans).where(mine, segments.c.id <= _last_that_fits(rows))
            encoded: list[Row[Any]] = [*await connection.execute(read.order_by(segments.c.id))]
        spans: list[SpanRecord] = []
        for row in encoded:
            if len(spans) < MAX_SPANS:
                spans += decode(unseal_row(self._sealer, segments, row)["spans"])
        return _summary(rows), sorted(spans[:MAX_SPANS], key=lambda span: span.began_ns)

    async def purge(self, older_than: timedelta) -> int:
        """Delete old segments. Returns how many."""
        until_us = (datetime.now(UTC) - older_than - _EPOCH) // timedelta(microseconds=1)
        return await purge(self._database, segments, segments.c.id < f"{until_us:014x}")


@cache
def _insert(dialect: Dialect) -> str:
    """The statement for the driver itself: SQLAlchemy's processing of parameters was half of the cost of a row."""
    places = ", ".join("?" if dialect == "sqlite" else f"${place}" for place in range(1, len(_WRITTEN) + 1))
    return f"INSERT INTO {segments.name} ({', '.join(_WRITTEN)}) VALUES ({places})"  # noqa: S608 - our own names


def _new_id() -> str:
    """An id that sorts by time, even within a microsecond in this process; 56 bits are random."""
    return f"{time_ns() // 1000:014x}{next(_numbers) & 0xFFFF:04x}{getrandbits(56):014x}"


_numbers = count()


async def _newest(connection: AsyncConnection, agent: str, limit: int) -> list[str]:
    """The ids of the traces with the newest segments of this agent. Reads on until there are enough."""
    found: dict[str, None] = {}
    query = select(segments.c.id, segments.c.trace_id).where(segments.c.agent == agent).order_by(segments.c.id.desc())
    size, page = 2 * limit, query
    while len(found) < limit:
        rows = (await connection.execute(page.limit(size))).all()
        found |= dict.fromkeys(row.trace_id for row in rows)
        if len(rows) < size:
            break
        size, page = 4 * size, query.where(segments.c.id < rows[-1].id)
    return list(found)[:limit]


def _last_that_fits(rows: Sequence[Row[Any]]) -> str:
    """The id of the last segment up to which the limits of reading hold; at least the first, however large it is."""
    total, last = 0, rows[0].id
    for row in rows:
        total += row.size
        if total > MAX_BYTES:
            break
        last = row.id
    return str(last)


def _summary(rows: Sequence[Row[Any]]) -> TraceSummary:
    rows = sorted(rows, key=lambda row: row.began_us)
    began_us, ended_us = rows[0].began_us, max(row.ended_us for row in rows)
    costs = [row.cost_usd for row in rows]
    models = dict.fromkeys(name for row in rows if row.model for name in row.model.split(","))
    return TraceSummary(
        id=rows[0].trace_id,
        operation=next((row.operation for row in rows if row.operation), None),
        model=",".join(models) or None,
        status=next(status for status in _WORST if any(row.status == status for row in rows)),
        started_at=_EPOCH + timedelta(microseconds=began_us),
        duration_ms=(ended_us - began_us) / 1000,
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cost_usd=None if None in costs else sum(costs),
    )
