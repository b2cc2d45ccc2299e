"""Queries for pages of runs, each in the order of an index, so that no page reads many more rows than it returns."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, func, literal_column, select, union_all

from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.tables import RARE, runs

LEADS = (
    ("parent_id",),
    ("owner", "status"),
    ("agent", "operation", "status"),
    ("operation", "agent", "status"),
    ("status",),
)
"""The columns that are looked up in an index if a filter on the first of them is given, the most selective first.
SQLite, which has no statistics of the values, would read all runs of an operation to find the few of one owner."""

MAX_PARTS = 100
"""The most queries that one page is merged from; SQLite takes 500. Beyond, all runs of the agent or operation are
read."""


async def newest(
    connection: AsyncConnection,
    columns: Sequence[Column[Any]],
    wanted: Mapping[str, str | None],
    *,
    before: str | None,
    limit: int,
) -> Any:
    """Runs, newest first.

    Args:
        connection: to the database.
        columns: the columns to select.
        wanted: the value that each column must have; None for any.
        before: only runs with ids lower than this.
        limit: the most runs to return.
    """
    given = {name: value for name, value in wanted.items() if value is not None}
    lead = next((names for names in LEADS if names[0] in given), ())
    hides = connection.dialect.name == "sqlite"
    conditions: list[ColumnElement[bool]] = [
        (runs.c[name] if name in lead or not hides else literal_column(f"+runs.{name}")) == value
        for name, value in given.items()
    ]
    if given.get("status", "completed") != "completed":
        conditions.append(literal_column(f"runs.{RARE}"))
    if before is not None:
        conditions.append(runs.c.id < before)
    page = select(*columns).where(*conditions)
    # An index has the runs of each agent's operation in order of time: the newest overall are among the newest of each.
    missing = next((name for name in ("agent", "operation") if name in lead and name not in given), None)
    if missing is not None:
        parts = await _values(connection, runs.c[missing], given)
        if 1 <= len(parts) <= MAX_PARTS:
            pages = (_page(page.where(runs.c[missing] == value), limit).subquery() for value in parts)
            found = union_all(*map(select, pages)).subquery()
            return (await connection.execute(select(found).order_by(found.c.id.desc()).limit(limit))).all()
    return (await connection.execute(_page(page, limit))).all()


def _page(query: Select[Any], limit: int) -> Select[Any]:
    return query.order_by(runs.c.id.desc()).limit(limit)


async def _values(connection: AsyncConnection, column: Column[str], given: Mapping[str, str]) -> list[str]:
    """The agents that have runs, or the operations of the given agent, each found in the index after the one before."""
    of = [runs.c.agent == given["agent"]] if column is runs.c.operation else []
    first = select(func.min(column).label("value")).where(*of)
    found = first.cte("found", recursive=True)
    behind = select(func.min(column)).where(*of, column > found.c.value).scalar_subquery()
    values = found.union_all(select(behind).where(found.c.value.is_not(None)))
    return [value for (value,) in await connection.execute(select(values.c.value)) if value is not None]
