"""Puts a backup in the place of an SQLite database."""

import fcntl
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from amrikyy.db.backup import BackupFailed, copy, written_whole
from amrikyy.db.urls import beside, parse, sqlite_file

SIDE_FILES = ("", "-wal", "-shm")
"""What SQLite calls the files of one database. A -wal that stays behind is replayed onto whatever has its name next."""

_SHARED_BYTES, _SHARED_LENGTH = 0x40000002, 510
"""Where a process that has a database open in WAL mode holds a lock for as long (https://sqlite.org/fileformat.html,
the lock-byte page). Asking for it works on a damaged file too, which SQLite itself would not get as far as locking."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What is where after a restore.

    Attributes:
        path: the database.
        former: where that is kept which it has replaced; None if there was none.
        left_out: why the file of the workflow engine was not restored; None if it was, or if the backup has none.
    """

    path: Path
    former: Path | None
    left_out: str | None = None


def restore(url: str, source: Path) -> Restored:
    """Put a backup, and the file of the workflow engine beside it, in the place of the database.

    Args:
        url: DATABASE_URL.
        source: the backup.

    Raises:
        BackupFailed: the database is in use or is not SQLite, or the file is no sound backup; nothing was changed.
    """
    path = sqlite_file(parse(url))
    if path is None:
        raise BackupFailed(
            "On PostgreSQL, restore into a new database, and set DATABASE_URL to that: "
            f"`createdb NEW && pg_restore --no-owner --dbname NEW {source}`."
        )
    engine_file = beside(path)
    try:
        if not source.is_file():
            raise BackupFailed(f"There is no file {source}.")
        if path.exists() and source.samefile(path):
            raise BackupFailed(f"{source} is the database itself. Name a backup of it.")
        for each in (path, engine_file):
            if _in_use(each):
                raise BackupFailed(f"{each} is in use. Stop the server, and whatever else has it open, first.")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with written_whole(path) as partial:
            copy(source, partial)
            _check_is_ours(partial, source)
            _give_to_owner_of(path if path.exists() else path.parent, partial)
            former = _put_aside(path)
            for suffix in SIDE_FILES:
                Path(f"{engine_file}{suffix}").unlink(missing_ok=True)
        if not beside(source).exists():
            return Restored(path, former)
        try:
            with written_whole(engine_file) as partial:
                copy(beside(source), partial)
                _give_to_owner_of(path, partial)
        except BackupFailed as error:  # workflows go on from the database
            return Restored(path, former, f"{error} The database is complete without it.")
        return Restored(path, former)
    except OSError as error:
        raise BackupFailed(f"{path} cannot be written: {error.strerror}.") from error


def _in_use(path: Path) -> bool:
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_LENGTH, _SHARED_BYTES)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _check_is_ours(copied: Path, source: Path) -> None:
    with closing(sqlite3.connect(copied)) as connection:
        found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'").fetchone()
    if found is None:
        raise BackupFailed(f"{source} is a database, but none of this server's: it has no alembic_version.")


def _give_to_owner_of(model: Path, new: Path) -> None:
    """Root, too, restores for the server's user: a file of root's own would keep the server from starting."""
    if os.geteuid() == 0:
        owner = model.stat()
        os.chown(new, owner.st_uid, owner.st_gid, follow_symlinks=False)  # the folder is that user's


def _put_aside(path: Path) -> Path | None:
    """Rename the database, and with it what of its last transactions is only in its -wal."""
    former = path.with_name(f"{path.stem}-before-{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}")
    for suffix in SIDE_FILES:
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{former}{suffix}")
    return former if former.exists() else None
