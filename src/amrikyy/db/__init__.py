"""The database: one schema for SQLite and PostgreSQL, and its versions."""

from amrikyy.db import encryption_keys, migrate
from amrikyy.db.engine import Database, open_database

__all__ = ["Database", "encryption_keys", "migrate", "open_database"]
