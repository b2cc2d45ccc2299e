"""A backup in the place of a database, whatever state that is in."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from amrikyy.db.backup import BackupFailed, back_up
from amrikyy.db.restore import restore
from tests.db.test_backup import faults_of

FILES = ("test.db", "test-workflows.db")


def write(path: Path, note: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
        database.execute("INSERT INTO notes VALUES (?)", (note,))


def notes(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [text for (text,) in database.execute("SELECT text FROM notes")]


def write_and_die(path: Path, note: str) -> None:
    """As a server that is killed: what it has written last is only in the -wal."""
    program = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.executemany('INSERT INTO notes VALUES (?)', [(sys.argv[2],)] * 200)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, path, note], check=True)
    assert Path(f"{path}-wal").stat().st_size > 0


@contextmanager
def opened_elsewhere(path: Path) -> Iterator[None]:
    program = (
        "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('SELECT * FROM notes'); print(); input()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate(b"\n")


@pytest.fixture
def backup(sqlite_url: str, tmp_path: Path) -> Path:
    """A backup of a database in which, since, more has been written by a server that was killed."""
    for name in FILES:
        write(tmp_path / name, "kept")
    (tmp_path / "away").mkdir()
    back_up(sqlite_url, tmp_path / "away" / "backup.db")
    for name in FILES:
        write_and_die(tmp_path / name, "later")
    return tmp_path / "away" / "backup.db"


async def test_nothing_of_the_old_files_is_replayed_onto_the_restored_ones(
    backup: Path, sqlite_url: str, tmp_path: Path
) -> None:
    restored = restore(sqlite_url, backup)
    for name in FILES:
        assert notes(tmp_path / name) == ["kept"]
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert await faults_of(sqlite_url) == []
    assert restored.former is not None
    assert notes(restored.former) == ["kept"] + ["later"] * 200
    assert restored.left_out is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can restore for another user")
def test_what_root_restores_belongs_to_the_user_of_the_server(backup: Path, sqlite_url: str, tmp_path: Path) -> None:
    os.chown(tmp_path / "test.db", 65534, 65533)
    restore(sqlite_url, backup)
    for name in FILES:
        owned = (tmp_path / name).stat()
        assert (owned.st_uid, owned.st_gid, stat.S_IMODE(owned.st_mode)) == (65534, 65533, 0o600)


def test_a_file_that_is_in_use_is_left_alone(backup: Path, sqlite_url: str, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    for name in FILES:
        with (
            opened_elsewhere(tmp_path / name),
            pytest.raises(BackupFailed, match=rf"{name} is in use\. Stop the server"),
        ):
            restore(sqlite_url, backup)
    assert {path.name for path in tmp_path.iterdir()} >= before - {
        f"{name}-{end}" for name in FILES for end in ("wal", "shm")
    }
    assert notes(tmp_path / "test.db") == ["kept"] + ["later"] * 200


async def test_a_database_that_is_damaged_or_gone_can_be_restored(
    backup: Path, sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "test.db").write_bytes(b"no database at all" * 1000)
    restore(sqlite_url, backup)
    assert notes(tmp_path / "test.db") == ["kept"]
    new = f"sqlite:///{tmp_path}/new/folder/a.db"
    assert restore(new, backup).former is None
    assert notes(tmp_path / "new" / "folder" / "a-workflows.db") == ["kept"]
    assert await faults_of(new) == []


def test_a_workflow_file_that_the_backup_lacks_does_not_stay(backup: Path, sqlite_url: str, tmp_path: Path) -> None:
    workflows = backup.with_name("backup-workflows.db")
    workflows.write_bytes(b"no database at all" * 1000)
    left_out = restore(sqlite_url, backup).left_out
    assert left_out is not None
    assert left_out.startswith(f"{workflows} could not be copied")
    assert list(tmp_path.glob("test-workflows.db*")) == []
    shutil.copy(backup, tmp_path / "test-workflows.db")
    workflows.unlink()
    assert restore(sqlite_url, backup).left_out is None
    assert list(tmp_path.glob("test-workflows.db*")) == []


def test_what_is_no_backup_changes_nothing(backup: Path, sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("No database. " * 500)
    before = {path.name for path in tmp_path.iterdir()}
    for file, reason in (
        (tmp_path / "nowhere.db", "There is no file"),
        (tmp_path / "notes.txt", "notes.txt could not be copied: file is not a database"),
        (backup.with_name("backup-workflows.db"), "none of this server's"),
        (tmp_path / "test.db", "is the database itself"),
    ):
        with pytest.raises(BackupFailed, match=reason):
            restore(sqlite_url, file)
    assert {path.name for path in tmp_path.iterdir()} == before
    with pytest.raises(BackupFailed, match="createdb NEW && pg_restore"):
        restore("postgresql://u@127.0.0.1/x", backup)
