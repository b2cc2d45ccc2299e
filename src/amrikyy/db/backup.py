"""Backs up the database while it is in use, and checks its integrity."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import URL

from amrikyy.db.engine import Database
from amrikyy.db.migrate import HEAD, current
from amrikyy.db.urls import beside, conninfo, parse, sqlite_file

TIMEOUT_S = 3600
"""For pg_dump: a large database takes minutes."""


class BackupFailed(Exception):
    """The backup failed; the message says why and what to do."""


def back_up(url: str, target: Path) -> list[Path]:
    """Copy the database, and with SQLite also the file of the workflow engine beside it. Both may be in use.

    Args:
        url: DATABASE_URL.
        target: the new file.

    Returns:
        the files that were created.

    Raises:
        BackupFailed: the target exists, the tool is missing, or copying failed.
    """
    if target.exists():
        raise BackupFailed(f"{target} already exists. Name a new file: a backup never overwrites one.")
    if not target.parent.is_dir():
        raise BackupFailed(f"The folder {target.parent} does not exist.")
    parsed = parse(url)
    source = sqlite_file(parsed)
    if source is None:
        _dump(parsed, target)
        return [target]
    made = [(source, target)]
    if beside(source).exists():
        made.append((beside(source), beside(target)))
    for original, copy in made:
        _copy(original, copy)
    return [copy for _, copy in made]


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


def _copy(source: Path, target: Path) -> None:
    """SQLite's online backup: a consistent snapshot, even if others write meanwhile."""
    if not source.exists():
        raise BackupFailed(f"There is no database at {source}; it is created when the server first starts.")
    try:
        target.touch(mode=0o600)
        with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copy:
            original.backup(copy)
            if (sound := copy.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise BackupFailed(f"The copy is damaged, and so is {source}: {sound}.")
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise BackupFailed(f"{source} could not be copied: {error}.") from error


def _dump(url: URL, target: Path) -> None:
    tool = shutil.which("pg_dump")
    if tool is None:
        raise BackupFailed("pg_dump is not installed: it comes with PostgreSQL's client (Debian: postgresql-client).")
    # The password goes through the environment: other users of the machine can read a command line, but not that.
    secret = {"PGPASSWORD": str(url.password)} if url.password else {}
    try:
        subprocess.run(  # noqa: S603 - PostgreSQL's own tool
            [tool, "--format=custom", f"--file={target}", f"--dbname={conninfo(url)}"],
            check=True, capture_output=True, timeout=TIMEOUT_S, env={**os.environ, **secret},
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        target.unlink(missing_ok=True)
        said = error.stderr.decode(errors="replace").strip() if error.stderr else "it took too long"
        raise BackupFailed(f"pg_dump failed: {said}") from error
    target.chmod(0o600)
