"""The engine's file, whatever becomes of it while the engine has it open."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from amrikyy.errors import Unavailable
from amrikyy.workflows.engine_file import EngineFile


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as database, database:
        yield database


def read(path: Path) -> None:
    with opened(path) as database:
        database.execute("SELECT count(text) FROM notes").fetchone()


async def test_a_page_that_only_its_use_shows_to_be_damaged_is_remembered_until_a_use_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "a-workflows.db"
    with opened(path) as database:
        database.execute("CREATE TABLE notes (text TEXT)")
        database.executemany("INSERT INTO notes VALUES (?)", [("x" * 100,)] * 1000)
    sound = path.read_bytes()
    file = EngineFile(f"sqlite:///{tmp_path}/a.db")
    path.write_bytes(sound[:8192] + bytes([255]) * (len(sound) - 8192))
    assert await file.damage() is None
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"a-workflows\.db is damaged"), file.used():
                read(path)
            assert await file.damage() is not None
        path.write_bytes(sound)
        with file.used():
            read(path)
        assert await file.damage() is None
    assert [line["event"] for line in logs] == ["workflow_file_damaged", "workflow_file_sound_again"]


async def test_what_has_another_cause_is_left_to_others(tmp_path: Path) -> None:
    file = EngineFile(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(sqlite3.OperationalError), file.used():
        read(tmp_path / "a-workflows.db")  # there is no such table
    assert await file.damage() is None
    assert await EngineFile("postgresql://u@127.0.0.1/x").damage() is None
