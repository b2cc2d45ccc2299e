"""Backs up the database while it is in use."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from amrikyy.db.failures import is_damaged
from amrikyy.db.urls import beside, conninfo, parse, sqlite_file

TIMEOUT_S = 3600
"""For pg_dump: a large database takes minutes."""


class BackupFailed(Exception):
    """The backup failed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What was saved.

    Attributes:
        files: the new files.
        left_out: why the file of the workflow engine is not among them; None if it is, or if there is none.
    """

    files: list[Path]
    left_out: str | None = None


def back_up(url: str, target: Path) -> Backup:
    """Copy the database, and with SQLite also the file of the workflow engine beside it. Both may be in use.

    Args:
        url: DATABASE_URL.
        target: the new file.

    Raises:
        BackupFailed: the target exists or cannot be written, the tool is missing, or copying failed.
    """
    parsed = parse(url)
    source = sqlite_file(parsed)
    try:
        if target.is_dir():
            raise BackupFailed(f"{target} is a folder. Name a new file in it.")
        for new in [target] if source is None else [target, beside(target)]:
            if new.exists():
                raise BackupFailed(f"{new} already exists. Name a new file: a backup never overwrites one.")
        if not target.parent.is_dir():
            raise BackupFailed(f"The folder {target.parent} does not exist.")
        if source is None:
            _dump(parsed, target)
            return Backup([target])
        _copy_whole(source, target)
        engine_file = beside(source)
        if not engine_file.exists():
            return Backup([target])
        try:
            _copy_whole(engine_file, beside(target))
        except BackupFailed as error:  # it holds nothing that the database does not
            return Backup(
                [target],
                f"{error} The backup is complete without it; `amrikyy db check` says what to do if it is damaged.",
            )
        return Backup([target, beside(target)])
    except OSError as error:
        raise BackupFailed(f"{target} cannot be written: {error.strerror}.") from error


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A new file for this user only, which gets its name when it is complete; of one that fails nothing is left."""
    handle, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def _copy_whole(source: Path, target: Path) -> None:
    with written_whole(target) as partial:
        copy(source, partial)


def copy(source: Path, target: Path) -> None:
    """SQLite's online backup: a consistent snapshot, even if others write meanwhile.

    Raises:
        BackupFailed: there is nothing to copy, it is damaged, or it cannot be copied.
    """
    if not source.exists():
        raise BackupFailed(f"There is no database at {source}; it is created when the server first starts.")
    try:
        with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copied:
            original.backup(copied)
            if (sound := copied.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
                raise BackupFailed(f"{source} is damaged, and so would a copy be: {sound}.")
    except sqlite3.Error as error:
        where = "" if is_damaged(error) else f" into {target.parent.absolute()}"  # a disk that is full, or fails
        raise BackupFailed(f"{source} could not be copied{where}: {error}.") from error


def _dump(url: URL, target: Path) -> None:
    tool = shutil.which("pg_dump")
    if tool is None:
        raise BackupFailed("pg_dump is not installed: it comes with PostgreSQL's client (Debian: postgresql-client).")
    # The password goes through the environment: other users of the machine can read a command line, but not that.
    secret = {"PGPASSWORD": str(url.password)} if url.password else {}
    with written_whole(target) as partial:
        try:
            subprocess.run(  # noqa: S603 - PostgreSQL's own tool
                [tool, "--format=custom", f"--file={partial}", f"--dbname={conninfo(url)}"],
                check=True, capture_output=True, timeout=TIMEOUT_S, env={**os.environ, **secret},
            )  # fmt: skip
        except OSError as error:
            raise BackupFailed(f"{tool} could not be started: {error.strerror}.") from error
        except subprocess.TimeoutExpired as error:
            raise BackupFailed(f"pg_dump was stopped: it took longer than {TIMEOUT_S} s.") from error
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip() or f"it ended with {error.returncode}"
            raise BackupFailed(f"pg_dump failed: {said}") from error
