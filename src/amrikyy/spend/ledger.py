"""The ledger: one entry for each run and model, and sums of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, FromClause, func, select

from amrikyy.db.engine import Database
from amrikyy.spend.sums import summed_through, used

GROUPS = {"day": "day", "caller": "owner", "agent": "agent", "operation": "operation", "model": "model"}
"""What usage can be grouped by, and the column that it is."""

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
        group_by: Sequence[str],
        *,
        since: date | None = None,
        until: date | None = None,
        caller: str | None = None,
        agent: str | None = None,
        operation: str | None = None,
        model: str | None = None,
    ) -> tuple[UsageGroup, list[UsageGroup]]:
        """The sum of all, and sums by group, in the order of the groups' names, MAX_GROUPS at most.

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
        wanted = {"owner": caller, "agent": agent, "operation": operation, "model": model}

        def narrowed(table: FromClause) -> Iterator[ColumnElement[bool]]:
            yield from (table.c[name] == value for name, value in wanted.items() if value is not None)
            if since is not None:
                yield table.c.day >= since.isoformat()
            if until is not None:
                yield table.c.day <= until.isoformat()

        async with self._database.snapshot() as connection:
            through = await summed_through(connection)
            total = used(through, narrowed, by_caller=caller is not None)
            rows = used(through, narrowed, by_caller=caller is not None or "caller" in group_by)
            # An entry is of one run and one model: where models are told apart, a run counts with each of them.
            (all_of_it,) = await connection.execute(select(*_sums(total, by_model=model is not None)))
            columns = [rows.c[GROUPS[name]].label(f"key_{name}") for name in group_by]
            query = select(*columns, *_sums(rows, by_model=model is not None or "model" in group_by))
            groups = (
                await connection.execute(query.group_by(*columns).order_by(*columns).limit(MAX_GROUPS))
                if columns else [all_of_it]
            )  # fmt: skip
            return _group([], all_of_it), [_group(group_by, row) for row in groups]


def _sums(rows: FromClause, *, by_model: bool) -> list[ColumnElement[Any]]:
    sums = {"runs": "entries" if by_model else "runs"} | {
        name: name for name in ("input_tokens", "output_tokens", "cost_usd", "unpriced", "estimated")
    }
    return [func.coalesce(func.sum(rows.c[column]), 0).label(name) for name, column in sums.items()]


def _group(names: Sequence[str], row: Any) -> UsageGroup:
    return UsageGroup(
        {name: row._mapping[f"key_{name}"] for name in names},
        int(row.runs),
        int(row.input_tokens),
        int(row.output_tokens),
        float(row.cost_usd),
        int(row.unpriced),
        int(row.estimated),
    )
