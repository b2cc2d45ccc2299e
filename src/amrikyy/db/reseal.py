"""Rewrites values that are not sealed with the current key, or not sealed at all; the server may be running."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Row,
    Table,
    and_,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)

from amrikyy.db.engine import Database
from amrikyy.db.sealed import layout, seal_row, unseal_row
from amrikyy.errors import Undecryptable
from amrikyy.sealing import BYTES_MARK, TEXT_MARK, Sealer

BATCH = 100
"""Rows that one transaction locks. Each may hold several megabytes."""

PAUSE_S = 0.02
"""Between two transactions, for other writers: SQLite has no queue, and lets in whichever happens to ask."""


@dataclass(slots=True)
class Resealed:
    """The result for one table, in rows.

    Attributes:
        table: its name.
        total: how many had to be rewritten.
        done: how many were rewritten.
        unreadable: how many cannot be read with the keys given; they are left as they were.
        example: the primary key of one of those.
        remaining: how many are left at the end: unreadable ones, and those that others have written meanwhile.
    """

    table: str
    total: int = 0
    done: int = 0
    unreadable: int = 0
    example: str = ""
    remaining: int = 0


async def reseal(
    database: Database, sealer: Sealer, tables: Iterable[Table], tell: Callable[[Resealed], None] | None = None
) -> list[Resealed]:
    """Rewrite values that are not sealed as they would be now. It may be interrupted at any time, and run again.

    Args:
        database: has the tables.
        sealer: has the key to write with (if none, values are written in the clear), and those to read with.
        tables: tables with sealed columns.
        tell: called after each batch.

    Raises:
        Unavailable: the database cannot be reached.
    """
    async with database.patient() as patient:
        done = [await _reseal(patient, sealer, table, tell) for table in tables]
        if patient.dialect == "sqlite":
            async with patient.connect() as connection:  # the old values are still in the write-ahead log
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return done


async def _reseal(
    database: Database, sealer: Sealer, table: Table, tell: Callable[[Resealed], None] | None
) -> Resealed:
    progress = Resealed(table.name, total=await _count(database, sealer, table))
    last: tuple[Any, ...] | None = None
    while progress.total:
        async with database.begin() as connection:
            if database.dialect == "sqlite":
                await connection.exec_driver_sql("PRAGMA secure_delete=ON")  # or old values would stay in free pages
            rows = (await connection.execute(_next(sealer, table, last))).all()
            for row in rows:
                last = _key(table, row)
                try:
                    await connection.execute(_written_anew(sealer, table, row))
                except Undecryptable:
                    progress.unreadable += 1
                    progress.example = progress.example or " ".join(map(str, last))
                else:
                    progress.done += 1
        if not rows:
            break
        if tell is not None:
            tell(progress)
        await asyncio.sleep(PAUSE_S)
    progress.remaining = await _count(database, sealer, table) if progress.total else 0
    return progress


async def _count(database: Database, sealer: Sealer, table: Table) -> int:
    query = select(func.count()).select_from(table).where(_outdated(sealer, table))
    async with database.connect() as connection:
        return int((await connection.execute(query)).scalar_one())


def _next(sealer: Sealer, table: Table, last: tuple[Any, ...] | None) -> Any:
    """The query for the rows of one batch, which are locked against changes by others."""
    columns, keys = layout(table)
    wanted = [table.c[name] for name in (*keys, *columns)]
    order = [table.c[name] for name in keys]
    behind: ColumnElement[bool] = true()
    if last is not None:
        behind = tuple_(*order) > tuple_(
            *(literal(value, column.type) for value, column in zip(last, order, strict=True))
        )
    return select(*wanted).where(behind, _outdated(sealer, table)).order_by(*order).limit(BATCH).with_for_update()


def _outdated(sealer: Sealer, table: Table) -> ColumnElement[bool]:
    """The condition of rows with a value that is not sealed as it would be now."""
    return or_(*(_is_outdated(sealer, table.c[name]) for name in layout(table)[0]))


def _is_outdated(sealer: Sealer, column: Any) -> ColumnElement[bool]:
    is_bytes = isinstance(column.type, LargeBinary)
    if sealer.key_id is None:
        mark: str | bytes = BYTES_MARK if is_bytes else TEXT_MARK
        return and_(column.is_not(None), func.substr(column, 1, len(mark)) == literal(mark, column.type))
    mark = sealer.bytes_mark if is_bytes else sealer.mark
    return and_(column.is_not(None), func.substr(column, 1, len(mark)) != literal(mark, column.type))


def _written_anew(sealer: Sealer, table: Table, row: Row[Any]) -> Any:
    columns, keys = layout(table)
    content = unseal_row(sealer, table, row)
    key = _key(table, row)
    values = seal_row(sealer, table, {name: content[name] for name in columns}, *key)
    return update(table).where(*(table.c[name] == value for name, value in zip(keys, key, strict=True))).values(values)


def _key(table: Table, row: Row[Any]) -> tuple[Any, ...]:
    return tuple(row._mapping[name] for name in layout(table)[1])
