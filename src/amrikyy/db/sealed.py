"""Rows with sealed content: the table declares the sealed columns; a value's place is its column and its row."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Row, Table

from amrikyy.db.tables import metadata
from amrikyy.sealing import Sealer


def seal_row(sealer: Sealer, table: Table, row: dict[str, Any], *key: str | int) -> dict[str, Any]:
    """The row as it is to be stored, with its content sealed.

    Args:
        sealer: seals it.
        table: the table that it is for.
        row: values by column.
        key: the row's primary key, if it is not among the values (in an update).
    """
    if sealer.key_id is None:
        return row
    columns, keys = layout(table)
    place = key or [row[name] for name in keys]
    sealed = {
        name: sealer.seal(value, where, *place)
        for name, where in columns.items()
        if (value := row.get(name)) is not None
    }
    return row | sealed


def unseal_row(sealer: Sealer, table: Table, row: Row[Any]) -> Mapping[str, Any]:
    """The unsealed values of a row by column; it must include its primary key.

    Raises:
        Undecryptable: a value cannot be read.
    """
    values = row._mapping
    columns, keys = layout(table)
    place = [values[name] for name in keys]
    content = {
        name: sealer.unseal(value, where, *place)
        for name, where in columns.items()
        if (value := values.get(name)) is not None
    }
    return {**values, **content}


def tables() -> Sequence[Table]:
    """The tables that have sealed columns."""
    return [table for table in metadata.sorted_tables if layout(table)[0]]


@cache
def layout(table: Table) -> tuple[dict[str, str], list[str]]:
    """The sealed columns, each with the name of its place; and those of the primary key."""
    sealed = {column.name: f"{table.name}.{column.name}" for column in table.columns if column.info.get("sealed")}
    return sealed, [column.name for column in table.primary_key]
