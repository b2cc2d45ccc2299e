"""An INSERT that may say what to do about a row that is there already, which each database words its own way."""

from typing import Any

from sqlalchemy import Table


def insert_into(table: Table, dialect: str) -> Any:
    """The dialect's INSERT. Only the dialect in use is loaded: the other one takes megabytes."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
