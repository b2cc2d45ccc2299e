"""What is booked when a run has ended: an entry in the ledger for each model, and the hour that it ended in."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from amrikyy.db.inserts import insert_into
from amrikyy.db.tables import LATENCY_MS, run_hours, spend
from amrikyy.runs.run import Run

_KEYS = ("agent", "operation", "hour")
_SUMS = [column.name for column in run_hours.columns if column.name not in _KEYS]


def ledger_rows(run: Run) -> list[dict[str, Any]]:
    """The entries of a run: what it has used itself. Its parts have entries of their own, and so has who it joined."""
    if run.joined or run.cached:
        return []
    return [
        {
            "run_id": run.id,
            "model": model,
            "owner": run.owner,
            "agent": run.agent,
            "operation": run.operation,
            "day": run.started_at.date().isoformat(),
            "input_tokens": spent.input_tokens,
            "output_tokens": spent.output_tokens,
            "cost_usd": spent.cost_usd,
            "usage_estimated": spent.estimated,
        }
        for model, spent in run.execution.own.items()
    ]


def hour_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """What runs that have ended add to their hours, a row for each agent, operation and hour."""
    hours: dict[tuple[str, str, datetime], dict[str, Any]] = defaultdict(lambda: dict.fromkeys(_SUMS, 0))
    for run in runs:
        ended_at = run.started_at + timedelta(seconds=run.elapsed_s)
        hour = ended_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        _add(hours[run.agent, run.operation, hour], run)
    return [dict(zip(_KEYS, key, strict=True)) | sums for key, sums in hours.items()]


@cache
def ledger_insert(dialect: str) -> Any:
    """Write entries; one that is there already gets the newer sums (a run that left early pays for what came after)."""
    insert = insert_into(spend, dialect)
    changing = ("input_tokens", "output_tokens", "cost_usd", "usage_estimated")
    return insert.on_conflict_do_update(
        index_elements=[spend.c.run_id, spend.c.model], set_={name: insert.excluded[name] for name in changing}
    )


@cache
def hours_insert(dialect: str) -> Any:
    """Add to hours."""
    insert = insert_into(run_hours, dialect)
    return insert.on_conflict_do_update(
        index_elements=[run_hours.c[name] for name in _KEYS],
        set_={name: run_hours.c[name] + insert.excluded[name] for name in _SUMS},
    )


def _add(sums: dict[str, Any], run: Run) -> None:
    outcome, spent = run.outcome, run.spent
    failed = outcome is not None and outcome.error is not None and outcome.error.status >= 500
    own = [] if run.joined or run.cached else run.execution.own.values()
    duration_ms = run.elapsed_s * 1000
    sums["runs"] += 1
    sums["failed"] += failed
    sums["cancelled"] += run.status == "cancelled"
    sums["cached"] += run.cached or run.joined
    sums["streamed"] += run.execution.streams
    sums["input_tokens"] += sum(each.input_tokens for each in own)
    sums["output_tokens"] += sum(each.output_tokens for each in own)
    sums["cost_usd"] += sum(each.cost_usd or 0.0 for each in own)
    sums["unpriced"] += spent.cost_usd is None
    sums["duration_ms"] += duration_ms
    bucket = next((bound for bound in LATENCY_MS if duration_ms <= bound), "all")
    sums[f"under_{bucket}"] += 1
