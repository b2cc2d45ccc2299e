"""An INSERT that supports ON CONFLICT, for which each dialect has a class of its own."""

from typing import Any

from sqlalchemy import Table


def insert_into(table: Table, dialect: str) -> Any:
    """The dialect's INSERT. Only the dialect in use is loaded: the other one takes megabytes."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
