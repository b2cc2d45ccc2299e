"""What is wrong with the database, for people."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from amrikyy.db.engine import Database
from amrikyy.db.migrate import HEAD, current, misfit
from amrikyy.db.urls import beside

CURE_OF_ENGINE_FILE = (
    "Delete it, and its -wal and -shm: workflows go on from the database. "
    "If they still cannot be run then, restart the server."
)


async def faults(database: Database) -> list[str]:
    """The faults of the database, each in a sentence; empty if it is sound. In a damaged one no others are sought.

    Raises:
        Unavailable: it cannot be reached.
    """
    found = []
    if database.dialect == "sqlite":
        path = Path(database.name)
        found += await asyncio.to_thread(_damage, beside(path), CURE_OF_ENGINE_FILE)
        damage = await asyncio.to_thread(_damage, path, "Restore a backup: `amrikyy db restore FILE`.")
        if damage:
            return damage + found
    version = await current(database)
    if version != HEAD:
        found.append(misfit(version).message)
    if database.dialect == "sqlite":
        async with database.connect() as connection:
            references = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
        found += [f"A row of {row[0]} refers to a row of {row[2]} that does not exist." for row in references[:10]]
    return found


def _damage(path: Path, cure: str) -> list[str]:
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(path)) as connection:
            pages = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)")]
    except sqlite3.Error as error:
        pages = [str(error)]
    wrong = "; ".join(page for page in pages if page != "ok")
    return [f"{path} is damaged: {wrong}. {cure}"] if wrong else []
