"""Queries for pages of runs, each read in the order of an index, so that no page reads much more than it shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, func, literal_column, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from amrikyy.db.tables import RARE, runs

LEADS = (("parent_id",), ("owner", "status"), ("agent", "operation", "status"), ("status",))
"""The columns that are looked up where the first of them is wanted, the most telling first. SQLite, which knows nothing
of the values, would read all runs of an operation to find somebody's few."""


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
        connection: of the database.
        columns: what is wanted of each.
        wanted: values that columns must have; None for any.
        before: only runs with lower ids.
        limit: how many at most.
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
    if lead[:1] == ("agent",) and "operation" not in given:
        query = await _by_operation(connection, columns, given["agent"], conditions, limit)
    else:
        query = _page(select(*columns).where(*conditions), limit)
    return (await connection.execute(query)).all()


def _page(query: Select[Any], limit: int) -> Select[Any]:
    return query.order_by(runs.c.id.desc()).limit(limit)


async def _by_operation(
    connection: AsyncConnection,
    columns: Sequence[Column[Any]],
    agent: str,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
) -> Any:
    """The newest of each operation's newest: an index has an agent's runs in order of time for each operation alone."""
    operations = [row[0] for row in await connection.execute(_operations(agent)) if row[0] is not None]
    pages = [
        select(_page(select(*columns).where(*conditions, runs.c.operation == name), limit).subquery())
        for name in operations
    ]
    if not pages:
        return _page(select(*columns).where(*conditions), limit)
    found = union_all(*pages).subquery()
    return select(found).order_by(found.c.id.desc()).limit(limit)


def _operations(agent: str) -> Select[Any]:
    """The operations that an agent has runs of, each found behind the one before."""
    first = select(func.min(runs.c.operation).label("name")).where(runs.c.agent == agent)
    found = first.cte("operations", recursive=True)
    behind = select(func.min(runs.c.operation)).where(runs.c.agent == agent, runs.c.operation > found.c.name)
    return select(found.union_all(select(behind.scalar_subquery()).where(found.c.name.is_not(None))).c.name)
