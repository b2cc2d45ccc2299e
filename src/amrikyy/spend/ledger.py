"""The ledger: one entry for each run and model, never changed, and sums of it."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, case, func, select

from amrikyy.db.engine import Database
from amrikyy.db.tables import spend

GROUPS = {
    "day": spend.c.day,
    "caller": spend.c.owner,
    "agent": spend.c.agent,
    "operation": spend.c.operation,
    "model": spend.c.model,
}
"""What usage can be grouped by."""

MAX_GROUPS = 10_000
"""Rows of one answer."""


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """What one group has used.

    Attributes:
        keys: what the group has in common, by the names in GROUPS.
        runs: that asked a model.
        cost_usd: of the calls whose price is known.
        unpriced: entries whose price is not known, and so not in the cost.
        estimated: entries whose tokens a provider did not report.
    """

    keys: dict[str, str]
    runs: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced: int
    estimated: int


class Ledger:
    """Reads the ledger. Whoever records a run writes its entries in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def usage(
        self,
        group_by: list[str],
        *,
        since: date | None = None,
        until: date | None = None,
        caller: str | None = None,
        agent: str | None = None,
        operation: str | None = None,
        model: str | None = None,
    ) -> list[UsageGroup]:
        """Sums by group, in the order of the groups' names. Without groups, one sum of all.

        Args:
            group_by: of GROUPS.
            since: the first day, UTC.
            until: the last day.
            caller: only this principal's runs.
            agent: only this agent's.
            operation: only this operation's.
            model: only this model's.

        Raises:
            Unavailable: the database cannot be reached.
        """
        columns = [GROUPS[name].label(f"key_{name}") for name in group_by]
        sums: list[ColumnElement[Any]] = [
            func.count(func.distinct(spend.c.run_id)).label("runs"),
            func.coalesce(func.sum(spend.c.input_tokens), 0).label("input_tokens"),
            func.coalesce(func.sum(spend.c.output_tokens), 0).label("output_tokens"),
            func.coalesce(func.sum(spend.c.cost_usd), 0.0).label("cost_usd"),
            func.coalesce(func.sum(case((spend.c.cost_usd.is_(None), 1), else_=0)), 0).label("unpriced"),
            func.coalesce(func.sum(case((spend.c.usage_estimated, 1), else_=0)), 0).label("estimated"),
        ]
        query = select(*columns, *sums).limit(MAX_GROUPS)
        if columns:
            query = query.group_by(*columns).order_by(*columns)
        wanted = {"owner": caller, "agent": agent, "operation": operation, "model": model}
        for name, value in wanted.items():
            if value is not None:
                query = query.where(spend.c[name] == value)
        if since is not None:
            query = query.where(spend.c.day >= since.isoformat())
        if until is not None:
            query = query.where(spend.c.day <= until.isoformat())
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        return [
            UsageGroup(
                {name: row._mapping[f"key_{name}"] for name in group_by},
                int(row.runs),
                int(row.input_tokens),
                int(row.output_tokens),
                float(row.cost_usd),
                int(row.unpriced),
                int(row.estimated),
            )
            for row in rows
        ]
