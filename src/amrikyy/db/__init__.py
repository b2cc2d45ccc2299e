"""The database: one schema for SQLite and PostgreSQL, and its versions."""

from amrikyy.db import migrate
from amrikyy.db.engine import Database, open_database

__all__ = ["Database", "migrate", "open_database"]
