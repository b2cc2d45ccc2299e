"""Backups of databases in use, and what `check` finds."""

import os
import resource
import shutil
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from amrikyy.db import migrate, open_database
from amrikyy.db.backup import Backup, BackupFailed, back_up
from amrikyy.db.faults import faults
from tests.postgres_server import binary


@pytest.fixture
def empty_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'amrikyy.db'}"


@pytest.fixture
def pg_dump(monkeypatch: pytest.MonkeyPatch) -> str:
    """PostgreSQL's own tool, of the version that the tests' server has."""
    tool = str(binary("pg_dump"))
    monkeypatch.setattr(shutil, "which", lambda _: tool)
    return tool


async def migrated(url: str) -> None:
    database = open_database(url)
    await migrate.upgrade(database)
    await database.close()


async def faults_of(url: str) -> list[str]:
    database = open_database(url)
    try:
        return await faults(database)
    finally:
        await database.close()


async def test_a_database_in_use_is_copied_with_what_lies_beside_it(empty_url: str, tmp_path: Path) -> None:
    await migrated(empty_url)
    with closing(sqlite3.connect(tmp_path / "amrikyy-workflows.db")) as beside:
        beside.execute("CREATE TABLE steps (id TEXT)")
    with closing(sqlite3.connect(tmp_path / "amrikyy.db", isolation_level=None)) as writer:
        writer.execute("CREATE TABLE notes (text TEXT)")
        writer.execute("INSERT INTO notes VALUES ('kept')")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM notes")  # not committed: not in the copy
        made = back_up(empty_url, tmp_path / "copy.db").files
        writer.execute("ROLLBACK")
    assert made == [tmp_path / "copy.db", tmp_path / "copy-workflows.db"]
    assert stat.S_IMODE(made[0].stat().st_mode) == 0o600
    with closing(sqlite3.connect(made[0])) as copy:
        assert copy.execute("SELECT text FROM notes").fetchall() == [("kept",)]
    assert await faults_of(f"sqlite:///{made[0]}") == []


async def test_what_cannot_be_backed_up_is_said_and_nothing_is_left(empty_url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="There is no database"):
        back_up(empty_url, tmp_path / "copy.db")
    await migrated(empty_url)
    (tmp_path / "there.db").write_text("precious")
    with pytest.raises(BackupFailed, match="never overwrites"):
        back_up(empty_url, tmp_path / "there.db")
    assert (tmp_path / "there.db").read_text() == "precious"
    with pytest.raises(BackupFailed, match="folder"):
        back_up(empty_url, tmp_path / "nowhere" / "copy.db")
    with pytest.raises(BackupFailed, match="cannot be written: File name too long"):
        back_up(empty_url, tmp_path / f"{'x' * 300}.db")
    before = set(tmp_path.iterdir())
    (tmp_path / "amrikyy.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(BackupFailed, match="could not be copied"):
        back_up(empty_url, tmp_path / "copy.db")
    assert set(tmp_path.iterdir()) == before


async def test_a_disk_that_takes_no_more_is_named_and_nothing_is_left_on_it(empty_url: str, tmp_path: Path) -> None:
    await migrated(empty_url)
    (tmp_path / "away").mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(
            BackupFailed, match=rf"amrikyy\.db could not be copied into {tmp_path}/away: disk I/O error"
        ):
            back_up(empty_url, tmp_path / "away" / "copy.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "away").iterdir()) == []


async def test_each_backup_has_a_workflow_file_of_its_own(empty_url: str, tmp_path: Path) -> None:
    await migrated(empty_url)
    workflows = tmp_path / "amrikyy-workflows.db"
    for day in ("2026-11-29", "2026-11-30"):
        with closing(sqlite3.connect(workflows)) as beside:
            beside.execute(f'CREATE TABLE "{day}" (id TEXT)')
        made = back_up(empty_url, tmp_path / f"backup.{day}").files
        assert [each.name for each in made] == [f"backup.{day}", f"backup.{day}-workflows.db"]
    with closing(sqlite3.connect(tmp_path / "backup.2026-11-29-workflows.db")) as first:
        assert first.execute("SELECT name FROM sqlite_schema").fetchall() == [("2026-11-29",)]
    with pytest.raises(BackupFailed, match=r"amrikyy-workflows\.db already exists.*never overwrites"):
        back_up(empty_url, tmp_path / "amrikyy.sqlite")  # it would have the same beside it as the original


async def test_a_copy_has_its_name_only_when_it_is_complete(empty_url: str, tmp_path: Path) -> None:
    await migrated(empty_url)
    with closing(sqlite3.connect(tmp_path / "amrikyy.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE notes (text TEXT UNIQUE)")
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET rootpage = 999999 WHERE name LIKE 'sqlite_autoindex_notes%'")
    before = set(tmp_path.iterdir())
    with pytest.raises(BackupFailed, match=r"amrikyy\.db"):
        back_up(empty_url, tmp_path / "copy.db")
    assert set(tmp_path.iterdir()) == before


async def test_a_damaged_workflow_file_is_left_out_of_a_backup_and_named_by_check(
    empty_url: str, tmp_path: Path
) -> None:
    await migrated(empty_url)
    workflows = tmp_path / "amrikyy-workflows.db"
    workflows.write_bytes(b"no database at all" * 100)
    made = back_up(empty_url, tmp_path / "copy.db")
    assert made.files == [tmp_path / "copy.db"]
    assert made.left_out is not None
    assert made.left_out.startswith(f"{workflows} could not be copied: file is not a database.")
    assert "complete without it" in made.left_out
    assert await faults_of(f"sqlite:///{tmp_path / 'copy.db'}") == []
    [fault] = await faults_of(empty_url)
    assert fault.startswith(f"{workflows} is damaged: file is not a database. Delete it")
    workflows.unlink()
    assert await faults_of(empty_url) == []


async def test_a_page_that_is_damaged_is_found_in_either_file(empty_url: str, tmp_path: Path) -> None:
    await migrated(empty_url)
    for name in ("amrikyy.db", "amrikyy-workflows.db"):
        with closing(sqlite3.connect(tmp_path / name)) as database, database:
            database.execute("CREATE TABLE notes (text TEXT)")
            database.executemany("INSERT INTO notes VALUES (?)", [("x" * 100,)] * 1000)
        with (tmp_path / name).open("r+b") as file:
            file.seek(-2 * 4096, os.SEEK_END)
            file.write(b"\xff" * 4096)
    main, workflows = await faults_of(empty_url)
    assert main.startswith(f"{tmp_path}/amrikyy.db is damaged")
    assert "amrikyy db restore" in main
    assert workflows.startswith(f"{tmp_path}/amrikyy-workflows.db is damaged")


async def test_check_names_the_schema_and_broken_references(empty_url: str, tmp_path: Path) -> None:
    [old] = await faults_of(empty_url)
    assert "amrikyy db upgrade" in old
    await migrated(empty_url)
    assert await faults_of(empty_url) == []
    with closing(sqlite3.connect(tmp_path / "amrikyy.db", isolation_level=None)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        refers = next(t for t in tables if database.execute(f"PRAGMA foreign_key_list({t})").fetchall())
        columns = database.execute(f"PRAGMA table_info({refers})").fetchall()
        values = ", ".join("'2026-01-01'" if "DATE" in str(c[2]).upper() else "'x'" for c in columns)
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute(f"INSERT INTO {refers} VALUES ({values})")  # noqa: S608 - names of our own
    [fault] = await faults_of(empty_url)
    assert refers in fault


async def test_a_database_of_either_kind_is_sound_when_its_schema_is(database_url: str) -> None:
    assert await faults_of(database_url) == []


async def test_without_the_tool_of_postgresql_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(BackupFailed, match="postgresql-client"):
        back_up("postgresql://somebody:secret@127.0.0.1/x", tmp_path / "copy.dump")


async def test_a_failing_dump_tells_why_and_not_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "pg_dump"
    tool.write_text('#!/bin/sh\necho "arguments: $@" >&2\n[ "$PGPASSWORD" = "s cret" ] && echo "has it" >&2\nexit 1\n')
    tool.chmod(0o700)
    monkeypatch.setattr(shutil, "which", lambda _: str(tool))
    with pytest.raises(BackupFailed, match="has it") as failed:
        back_up("postgresql://somebody:s%20cret@127.0.0.1:5432/x", tmp_path / "copy.dump")
    assert "cret@" not in str(failed.value)
    assert "host='127.0.0.1' port='5432' user='somebody' dbname='x'" in str(failed.value)


@pytest.mark.parametrize("name", ["b.db?timeout=5", "c%20d.db"])
async def test_the_file_of_a_url_is_the_one_that_the_server_opens(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/{name}"
    await migrated(url)
    assert back_up(url, tmp_path / "copy.db") == Backup([tmp_path / "copy.db"])


@pytest.mark.parametrize(
    "parameters",
    ["pgbouncer=true", "sslmode=prefer&supa=base-pooler.x", "search_path=%22a%20b%22,public&options=-cwork_mem=1MB"],
)
def test_a_connection_string_that_the_server_understands_is_one_for_a_dump(
    parameters: str, postgresql_url: str, pg_dump: str, tmp_path: Path
) -> None:
    [dump] = back_up(f"{postgresql_url}?{parameters}", tmp_path / "copy.dump").files
    listed = subprocess.run([pg_dump.replace("pg_dump", "pg_restore"), "--list", dump], check=True, capture_output=True)
    assert b"TABLE DATA public alembic_version" in listed.stdout
