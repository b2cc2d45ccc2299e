"""Statistics of agents, summed up from hours: over all processes, and across restarts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select

from amrikyy.auth.audit import Act, note
from amrikyy.db.engine import Database
from amrikyy.db.tables import LATENCY_MS, run_hours

_SUMS = [column.name for column in run_hours.columns if column.name not in ("agent", "operation", "hour")]


@dataclass(frozen=True, slots=True)
class Statistics:
    """How runs went. `latencies` counts them by the buckets of LATENCY_MS, the last of which has no upper bound."""

    runs: int = 0
    failed: int = 0
    cancelled: int = 0
    cached: int = 0
    streamed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    duration_ms: float = 0.0
    latencies: tuple[int, ...] = (0,) * (len(LATENCY_MS) + 1)
    since: datetime | None = None

    @property
    def error_rate(self) -> float:
        """Failures, in percent of runs."""
        return round(100 * self.failed / self.runs, 2) if self.runs else 0.0

    @property
    def average_ms(self) -> float | None:
        """The mean duration; None without runs."""
        return round(self.duration_ms / self.runs, 1) if self.runs else None

    def percentile_ms(self, share: float) -> float | None:
        """The estimated duration within which this share of runs ended, interpolated in buckets as Prometheus does.

        None without runs; the last bound if it lies beyond. The estimate is capped by what the mean allows (Markov's
        inequality: at most a tenth of runs take ten times the mean), for example if all are below the first bound.
        """
        found = self._in_buckets(share)
        if found is None or not self.duration_ms:
            return found
        return min(found, round(self.duration_ms / self.runs / (1 - share), 1))

    def _in_buckets(self, share: float) -> float | None:
        wanted = share * self.runs
        below, lower = 0, 0.0
        for bound, count in zip(LATENCY_MS, self.latencies, strict=False):
            if count and below + count >= wanted:
                return round(lower + (bound - lower) * (wanted - below) / count, 1)
            below, lower = below + count, float(bound)
        return float(LATENCY_MS[-1]) if self.runs else None


class RunStatistics:
    """Reads and resets the sums. Every method raises `Unavailable` when the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_agent(self, agents: Sequence[str]) -> dict[str, Statistics]:
        """The statistics of each of these agents."""
        sums = [func.sum(run_hours.c[name]).label(name) for name in _SUMS]
        query = (
            select(run_hours.c.agent, func.min(run_hours.c.hour).label("since"), *sums)
            .where(run_hours.c.agent.in_(agents))
            .group_by(run_hours.c.agent)
        )
        async with self._database.connect() as connection:
            rows = {row.agent: row for row in await connection.execute(query)}
        return {agent: _statistics(rows[agent]) if agent in rows else Statistics() for agent in agents}

    async def reset(self, agent: str, act: Act) -> None:
        """Start counting again from zero. The ledger keeps what was spent."""
        async with self._database.begin() as connection:
            await note(connection, act)
            await connection.execute(delete(run_hours).where(run_hours.c.agent == agent))


def _statistics(row: Any) -> Statistics:
    return Statistics(
        runs=int(row.runs),
        failed=int(row.failed),
        cancelled=int(row.cancelled),
        cached=int(row.cached),
        streamed=int(row.streamed),
        input_tokens=int(row.input_tokens),
        output_tokens=int(row.output_tokens),
        cost_usd=float(row.cost_usd),
        unpriced=int(row.unpriced),
        duration_ms=float(row.duration_ms),
        latencies=tuple(int(row._mapping[f"under_{bound}"]) for bound in (*LATENCY_MS, "all")),
        since=row.since,
    )
