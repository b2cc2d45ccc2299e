"""Where the engine keeps the outcomes of steps, for those who have to write them anew."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, Table, Text

from amrikyy.db.engine import Database, open_database
from amrikyy.db.tables import SEALED
from amrikyy.db.urls import beside

SCHEMA = "workflows"
"""Of the engine's tables on PostgreSQL; on SQLite they are in a file of their own."""

PLACE = "operation_outputs.output"
"""Of an outcome, with the ids of workflow and step: what it is sealed for."""


def outcomes(schema: str | None) -> Table:
    """What has to be known of the engine's table of steps."""
    return Table(
        "operation_outputs",
        MetaData(schema=schema),
        Column("workflow_uuid", Text, primary_key=True),
        Column("function_id", Integer, primary_key=True),
        Column("output", Text, info=SEALED),
    )


@asynccontextmanager
async def open_outcomes(database: Database, url: str) -> AsyncIterator[tuple[Database, Table] | None]:
    """The database that has them, and the table in it; None before the first workflow.

    Args:
        database: the server's.
        url: its URL.
    """
    if database.dialect == "postgresql":
        yield database, outcomes(SCHEMA)
        return
    path = beside(Path(url.removeprefix("sqlite:///")))
    if not path.exists():
        yield None
        return
    opened = open_database(f"sqlite:///{path}")
    try:
        yield opened, outcomes(None)
    finally:
        await opened.close()
