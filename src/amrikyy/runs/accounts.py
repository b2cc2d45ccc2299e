"""Accounting for runs that have ended: a ledger entry for each model, and the sums of the hour that it ended in."""

from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import bindparam

from amrikyy.db.bulk import Bulk
from amrikyy.db.inserts import insert_into
from amrikyy.db.tables import LATENCY_MS, run_hours, spend
from amrikyy.runs.run import Run
from amrikyy.telemetry.seconds import text_of_second

_KEYS = ("agent", "operation", "hour")
_BUCKETS = [f"under_{bound}" for bound in (*LATENCY_MS, "all")]
_SUMS = [column.name for column in run_hours.columns if column.name not in _KEYS]


def ledger_rows(run: Run) -> list[dict[str, Any]]:
    """The ledger entries of a run, for its own usage only: child runs, and the run that it joined, have their own."""
    execution = run.execution
    if run.joined or execution.cached:
        return []
    return [
        {
            "run_id": run.id,
            "model": model,
            "owner": run.owner,
            "agent": run.agent,
            "operation": run.operation,
            "day": text_of_second(int(run.started_at))[:10],
            "input_tokens": spent.input_tokens,
            "output_tokens": spent.output_tokens,
            "cost_usd": spent.cost_usd,
            "usage_estimated": spent.estimated,
        }
        for model, spent in execution.own.items()
    ]


def hour_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """What runs that have ended add to the sums of their hours: a row for each agent, operation and hour.

    Sorted by that key: processes that update the same rows in different orders would deadlock, until PostgreSQL
    ended one.
    """
    hours: dict[tuple[str, str, float], dict[str, Any]] = {}
    for run in runs:
        elapsed_s = run.elapsed_s
        key = run.agent, run.operation, (run.started_at + elapsed_s) // 3600
        if (sums := hours.get(key)) is None:
            sums = hours[key] = dict.fromkeys(_SUMS, 0)
        _add(sums, run, elapsed_s * 1000)
    return [
        {"agent": agent, "operation": operation, "hour": datetime.fromtimestamp(hour * 3600, UTC), **sums}
        for (agent, operation, hour), sums in sorted(hours.items(), key=itemgetter(0))
    ]


@cache
def ledger_insert(dialect: str) -> Bulk:
    """Write entries; an existing one gets the newer sums (a run that left early pays for what came after)."""
    given: dict[str, Any] = {each.name: bindparam(each.name) for each in spend.c if each is not spend.c.number}
    insert = insert_into(spend, dialect).values(given).inline()
    changing = ("input_tokens", "output_tokens", "cost_usd", "usage_estimated")
    return Bulk(
        insert.on_conflict_do_update(
            index_elements=[spend.c.run_id, spend.c.model], set_={name: insert.excluded[name] for name in changing}
        )
    )


@cache
def hours_insert(dialect: str) -> Bulk:
    """Add to the sums of hours."""
    insert = insert_into(run_hours, dialect)
    return Bulk(
        insert.on_conflict_do_update(
            index_elements=[run_hours.c[name] for name in _KEYS],
            set_={name: run_hours.c[name] + insert.excluded[name] for name in _SUMS},
        )
    )


def _add(sums: dict[str, Any], run: Run, duration_ms: float) -> None:
    outcome, execution = run.outcome, run.execution
    sums["runs"] += 1
    sums["duration_ms"] += duration_ms
    sums[_BUCKETS[bisect_left(LATENCY_MS, duration_ms)]] += 1
    if outcome is not None and outcome.error is not None:
        sums["failed"] += outcome.error.status >= 500
        sums["cancelled"] += run.status == "cancelled"
    if execution.streams:
        sums["streamed"] += 1
    if run.joined or execution.cached:
        sums["cached"] += 1
    else:
        for spent in execution.own.values():
            sums["input_tokens"] += spent.input_tokens
            sums["output_tokens"] += spent.output_tokens
            sums["cost_usd"] += spent.cost_usd or 0.0
    if execution.spent.cost_usd is None and not run.joined:
        sums["unpriced"] += 1
