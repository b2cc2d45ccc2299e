"""What is wrong with the database, for people."""

from sqlalchemy import text

from amrikyy.db.engine import Database
from amrikyy.db.migrate import HEAD, current


async def faults(database: Database) -> list[str]:
    """The faults of the database, each in a sentence; empty if it is sound.

    Raises:
        Unavailable: it cannot be reached.
    """
    found = []
    version = await current(database)
    if version != HEAD:
        found.append(
            f"The schema is at {version or 'nothing'}, and this program needs {HEAD}: run `amrikyy db upgrade`."
        )
    if database.dialect == "sqlite":
        async with database.connect() as connection:
            pages = [row[0] for row in await connection.execute(text("PRAGMA integrity_check(10)"))]
            references = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
        found += [f"The file is damaged: {page}. Restore a backup." for page in pages if page != "ok"]
        found += [f"A row of {row[0]} refers to a row of {row[2]} that does not exist." for row in references[:10]]
    return found
