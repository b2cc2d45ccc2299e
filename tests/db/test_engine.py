"""Connections, and what happens without a database."""

import asyncio
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiosqlite
import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, create_engine, insert, select, text
from sqlalchemy.dialects import registry, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from structlog.testing import capture_logs

from amrikyy.db import Database, open_database
from amrikyy.db.bulk import TOGETHER, Bulk
from amrikyy.db.inserts import insert_into
from amrikyy.db.moment import Moment
from amrikyy.db.tables import refresh_tokens, users
from amrikyy.db.urls import libpq_url, parse
from amrikyy.errors import Unavailable

NUMBERS = Table("numbers", MetaData(), Column("number", Integer), Column("square", Integer))
MOMENT = datetime(2026, 11, 23, 10, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))


def user(user_id: str, moment: datetime = MOMENT) -> dict[str, Any]:
    return {
        "id": user_id, "email": f"{user_id}@example.com", "password_hash": "x", "role": "user",
        "sessions_valid_from": moment, "created_at": moment, "updated_at": moment,
    }  # fmt: skip


def with_query(url: str, query: str) -> str:
    return urlsplit(url)._replace(query=query).geturl()


async def failure(url: str) -> str:
    """The code of the error that a ping of an unreachable database is."""
    database = open_database(url)
    with pytest.raises(Unavailable) as caught:
        await database.ping()
    await database.close()
    assert "secret" not in caught.value.message
    return caught.value.code


async def test_times_keep_their_zone_and_their_microseconds(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(insert(users).values(user("u1")))
    async with database.connect() as connection:
        stored = (await connection.execute(select(users.c.created_at))).scalar_one()
    assert stored == MOMENT
    assert stored.utcoffset() == timedelta(0)


async def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="without a time zone"):
        async with database.begin() as connection:
            await connection.execute(insert(users).values(user("u1", MOMENT.replace(tzinfo=None))))


async def test_references_are_enforced(database: Database) -> None:
    row = {"token_hash": "t", "family": "f", "user_id": "gone", "issued_at": MOMENT, "expires_at": MOMENT}
    with pytest.raises(IntegrityError):
        async with database.begin() as connection:
            await connection.execute(insert(refresh_tokens).values(row))


async def test_an_error_does_not_show_what_was_to_be_stored(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with database.begin() as connection:
            await connection.execute(text("SELECT :secret FROM nowhere"), {"secret": "a password's hash"})
    assert "nowhere" in str(caught.value)
    assert "password" not in str(caught.value)


async def test_an_exception_takes_the_transaction_back(database: Database) -> None:
    async def change_and_fail() -> None:
        async with database.begin() as connection:
            await connection.execute(insert(users).values(user("u1")))
            raise RuntimeError("on second thoughts")

    with pytest.raises(RuntimeError):
        await change_and_fail()
    async with database.connect() as connection:
        assert (await connection.execute(select(users))).all() == []


async def test_transactions_with_the_same_lock_follow_each_other(database: Database) -> None:
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with database.begin(lock=7):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(4)))
    assert most == 1


async def test_a_wrong_statement_is_our_mistake_and_no_503(database: Database) -> None:
    for statement in ("SELECT * FROM nowhere", "SELEC 1", "SELECT nothing FROM users"):
        with pytest.raises(DBAPIError):
            async with database.connect() as connection:
                await connection.execute(text(statement))
    await database.ping()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody:secret@127.0.0.1:9/nothing",
        "postgresql://nobody:secret@localhost:9/nothing",
        "postgresql://nobody:secret@no-such-host.invalid/nothing",
        "postgres://u:secret@127.0.0.1:9/x?sslmode=require&pgbouncer=true",
        "postgresql+psycopg://u:secret@127.0.0.1:9/x",
    ],
)
async def test_an_unreachable_database_is_a_503(url: str) -> None:
    assert await failure(url) == "database_unavailable"


async def test_a_database_or_login_that_does_not_exist_is_a_503_too(postgresql_url: str) -> None:
    parts = urlsplit(postgresql_url)
    assert await failure(parts._replace(path=f"{parts.path}_gone").geturl()) == "database_unavailable"
    stranger = parts._replace(netloc=f"no-such-role:secret@{parts.netloc.rpartition('@')[2]}")
    assert await failure(stranger.geturl()) == "database_unavailable"


async def test_sslmode_require_does_without_no_encryption(postgresql_url: str) -> None:
    database = open_database(with_query(postgresql_url, "sslmode=disable"))
    async with database.connect() as connection:
        server_can = await connection.scalar(text("SHOW ssl")) == "on"
    await database.close()
    url = with_query(postgresql_url, "sslmode=require")
    if not server_can:
        assert await failure(url) == "database_unavailable"
        return
    database = open_database(url)
    await database.ping()
    await database.close()


async def test_a_broken_connection_is_a_503_and_the_next_one_works(postgresql_url: str) -> None:
    database = open_database(postgresql_url)
    with pytest.raises(Unavailable):
        async with database.connect() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    await database.ping()
    await database.close()


async def test_a_statement_that_takes_too_long_is_a_503(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amrikyy.db.engine.STATEMENT_TIMEOUT_S", 0.2)
    database = open_database(postgresql_url)
    with pytest.raises(Unavailable):
        async with database.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(5)"))
    await database.ping()
    await database.close()


async def test_an_exhausted_pool_is_a_503(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    pool: Any = database.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.05)
    monkeypatch.setattr(pool, "_max_overflow", 0)
    async with database.connect(), database.connect(), database.connect(), database.connect(), database.connect():
        with pytest.raises(Unavailable):
            await database.ping()
    await database.ping()


async def test_a_broken_file_is_a_503(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"this is not a database" * 100)
    assert await failure(f"sqlite:///{tmp_path}/a.db") == "database_unavailable"


@pytest.mark.parametrize("instead", [None, "another"])
async def test_a_file_that_is_deleted_or_replaced_under_a_database_is_noticed_until_it_is_back(
    tmp_path: Path, instead: str | None
) -> None:
    path = tmp_path / "a.db"
    database = open_database(f"sqlite:///{path}")
    async with database.begin() as connection:
        await connection.execute(text("CREATE TABLE notes (text TEXT)"))
    await database.ping()
    path.rename(tmp_path / "moved.db")
    if instead is not None:
        path.write_text(instead)
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(Unavailable, match="deleted, moved or replaced"):
                await database.ping()
        lasting = [database.takes_writes]
        (tmp_path / "moved.db").rename(path)
        await database.ping()
    assert [*lasting, database.takes_writes] == [False, True]
    assert [line["event"] for line in logs] == ["database_file_lost", "database_file_back"]
    await database.close()


async def test_no_connection_is_made_to_a_file_that_has_taken_the_place_of_the_one_that_was_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.db"
    database = open_database(f"sqlite:///{path}")
    async with database.begin() as open_before:
        await open_before.execute(text("CREATE TABLE notes (text TEXT)"))
        path.rename(tmp_path / "moved.db")
        with pytest.raises(Unavailable):
            async with database.connect() as another:
                await another.execute(text("SELECT * FROM notes"))
        assert not path.exists()
        await open_before.execute(text("INSERT INTO notes VALUES ('kept')"))
    async with database.connect() as connection:
        assert await connection.scalar(text("SELECT text FROM notes")) == "kept"
    await database.close()


async def test_a_file_that_somebody_else_keeps_locked_is_a_503(tmp_path: Path) -> None:
    first, second = open_database(f"sqlite:///{tmp_path}/a.db"), open_database(f"sqlite:///{tmp_path}/a.db")
    async with first.begin():
        async with second.connect() as connection:
            await connection.exec_driver_sql("PRAGMA busy_timeout=10")
            await connection.rollback()
        with pytest.raises(Unavailable):
            async with second.begin():
                pass
    for database in (first, second):
        await database.close()


@pytest.mark.parametrize("url", ["mysql://root:secret@host/x", "nonsense", "sqlite://", "sqlite:///:memory:", ""])
def test_another_kind_of_database_is_refused_in_words_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL") as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("query", ["sslmode=on", "connect_timeout=soon", "connect_timeout=0", "schema=public"])
def test_a_wrong_parameter_is_named(query: str) -> None:
    with pytest.raises(ValueError, match=query.partition("=")[0]) as caught:
        open_database(f"postgresql://u:secret@host/x?{query}")
    assert "DATABASE_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_hosted_connection_string_is_understood(postgresql_url: str) -> None:
    query = "sslmode=prefer&connect_timeout=3&application_name=amrikyy&channel_binding=prefer"
    database = open_database(with_query(postgresql_url, query).replace("postgresql://", "postgres://"))
    async with database.connect() as connection:
        assert await connection.scalar(text("SHOW application_name")) == "amrikyy"
    await database.close()


async def test_the_drivers_of_the_server_and_of_its_workflows_see_the_same_search_path(postgresql_url: str) -> None:
    url = with_query(postgresql_url, "search_path=%22a%20b%22,public&options=-c%20work_mem%3D1MB")
    shown = "SELECT current_setting('search_path'), current_setting('work_mem')"
    database = open_database(url)
    async with database.connect() as connection:
        assert (await connection.execute(text(shown))).one() == ('"a b",public', "1MB")
    await database.close()
    workflows = create_engine(libpq_url(parse(url)))
    with workflows.connect() as same:
        assert same.execute(text(shown)).one() == ('"a b",public', "1MB")
    workflows.dispose()


async def test_behind_a_pooler_nothing_is_kept_on_a_connection(postgresql_url: str) -> None:
    database = open_database(with_query(postgresql_url, "pgbouncer=true"))
    async with database.begin() as connection:
        for user_id in ("u1", "u2"):
            await connection.execute(insert(users).values(user(user_id)))
        await connection.execute(insert(users), [user("u3"), user("u4")])
        found = (await connection.execute(select(users.c.id).where(users.c.id > "u1").order_by(users.c.id))).all()
        assert [row.id for row in found] == ["u2", "u3", "u4"]
        assert await connection.scalar(text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")) == 0
    await database.ping()
    await database.close()


async def test_sqlite_runs_in_wal_mode_in_a_folder_and_a_file_of_its_own(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/new/folder/a.db")
    async with database.connect() as connection:
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one() == "wal"
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one() == 1
        assert (await connection.exec_driver_sql("PRAGMA busy_timeout")).scalar_one() == 5000
        assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar_one() == 1
    folder = tmp_path / "new" / "folder"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()] == [0o600] * len(list(folder.iterdir()))
    await database.close()


async def test_a_new_file_has_pages_for_several_runs_and_one_of_an_earlier_day_keeps_its_own(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "earlier.db")) as earlier:
        earlier.execute("PRAGMA page_size=4096")
        earlier.execute("CREATE TABLE notes (text TEXT)")
        earlier.execute("INSERT INTO notes VALUES ('kept')")
        earlier.commit()
    for name, size in (("new.db", 8192), ("earlier.db", 4096)):
        database = open_database(f"sqlite:///{tmp_path / name}")
        try:
            async with database.begin() as connection:
                await connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
            async with database.connect() as connection:
                assert (await connection.exec_driver_sql("PRAGMA page_size")).scalar_one() == size
                assert len((await connection.exec_driver_sql("SELECT text FROM notes")).all()) == (size == 4096)
        finally:
            await database.close()


async def test_a_transaction_changes_to_sqlites_thread_once_a_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    await database.ping()
    asked: list[str] = []

    async def execute(self: Any, function: Any, *arguments: Any) -> Any:
        asked.append(function.__name__)
        return await usual(self, function, *arguments)

    usual: Any = aiosqlite.Connection._execute
    monkeypatch.setattr(aiosqlite.Connection, "_execute", execute)
    async with database.begin() as connection:
        await connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER, square INTEGER)")
        await connection.exec_driver_sql("INSERT INTO numbers VALUES (?, ?)", [(1, 1), (2, 4)])
        rows = await connection.exec_driver_sql("INSERT INTO numbers VALUES (3, 9), (4, 16) RETURNING number")
        changed = await connection.exec_driver_sql("UPDATE numbers SET number = number + 1 WHERE number > 1")
        assert ([*rows.scalars()], [*rows.keys()], changed.rowcount) == ([3, 4], ["number"], 3)
    assert asked == [*("execute",) * 2, "executemany", "execute", "fetchall", "execute", "commit"]
    asked.clear()
    many = [{"number": number, "square": number**2} for number in range(3 * TOGETHER[1] + 7)]
    await database.write((Bulk(sqlite.insert(NUMBERS)), many), (Bulk(sqlite.insert(NUMBERS)), many))
    assert len(asked) == 1
    await database.close()


async def test_writers_to_sqlite_take_turns_and_hold_no_connection_until_then(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(sqlite_url)
    await database.ping()
    wrote: list[int] = []

    async def write(number: int) -> None:
        if number % 2:
            await database.write(
                (Bulk(sqlite.insert(users)), [user(f"u{number}") | {"name": None, "disabled_at": None}])
            )
        else:
            async with database.begin() as connection:
                await connection.execute(insert(users).values(user(f"u{number}")))
        wrote.append(number)

    async with database.begin() as holding:
        writers = [asyncio.create_task(write(number)) for number in range(20)]
        await asyncio.sleep(0.05)
        writers.pop(7).cancel()
        assert database.pool.checkedout() == 2, "who writes, and who is next"
        await database.ping()  # readers do not wait
        await holding.execute(insert(users).values(user("holder")))
    await asyncio.gather(*writers)
    assert sorted(wrote) == [number for number in range(20) if number != 7]
    monkeypatch.setattr("amrikyy.db.engine.CONNECT_TIMEOUT_S", 0.05)
    async with database.begin():
        following = asyncio.create_task(write(20))
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable) as refused:
            await write(21)
    assert str(refused.value.__cause__) == "no turn to write came within 0.05 s"
    await following
    await write(21)
    await database.close()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 63, 64, TOGETHER[0] - 1, TOGETHER[0], 2 * TOGETHER[0] + 87])
async def test_rows_are_written_as_they_are_however_many(database: Database, count: int) -> None:
    rows = [user(f"u{number:03}") | {"name": f"name {number}", "disabled_at": None} for number in range(count)]
    await database.write((Bulk(insert_into(users, database.dialect)), rows))
    async with database.connect() as connection:
        assert [row._asdict() for row in await connection.execute(select(users).order_by(users.c.id))] == rows


async def test_rows_are_written_all_or_none(database: Database) -> None:
    write = Bulk(insert_into(users, database.dialect))
    row = user("u1") | {"name": None, "disabled_at": None}
    for _ in range(2):
        with pytest.raises((IntegrityError, sqlite3.IntegrityError)):
            await database.write((write, [row]), (write, [row]))
    async with database.connect() as connection:
        assert (await connection.execute(select(users))).all() == []
    await database.write((write, [row]))


async def test_a_file_that_is_locked_while_rows_are_written_is_a_503_and_the_next_time_they_are(
    sqlite_url: str,
) -> None:
    first, second = open_database(sqlite_url), open_database(sqlite_url)
    write, rows = Bulk(sqlite.insert(users)), [user("u1") | {"name": None, "disabled_at": None}]
    async with first.begin():
        async with second.connect() as connection:
            await connection.exec_driver_sql("PRAGMA busy_timeout=10")
        with pytest.raises(Unavailable):
            await second.write((write, rows))
    await second.write((write, rows))
    for database in (first, second):
        await database.close()


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="DATABASE_URL"):
        open_database(f"sqlite:///{tmp_path}/file/a.db")


def test_a_moment_is_written_as_sqlalchemy_itself_would_write_it() -> None:
    dialect = sqlite.dialect()
    plainly = DateTime().dialect_impl(dialect).bind_processor(dialect)
    ours = Moment().dialect_impl(dialect).bind_processor(dialect)
    assert plainly is not None
    assert ours is not None
    for moment in (
        datetime(2026, 11, 29, 18, 5, tzinfo=UTC),
        datetime(1, 1, 1, 0, 0, 0, 7, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(2026, 3, 29, 2, 30, 1, 20, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    ):
        assert ours(moment) == plainly(moment.astimezone(UTC).replace(tzinfo=None))
    assert ours(None) is None
    day, on_postgresql = datetime(2026, 11, 29, tzinfo=UTC), registry.load("postgresql")()
    for late_us in (0, 1, 999_999, 86_399_999_999, *range(7, 9**9, 7**9)):
        moment = day + timedelta(microseconds=late_us)
        assert ours(moment.timestamp()) == ours(moment)
        assert Moment().process_bind_param(moment.timestamp(), on_postgresql) == moment
    assert ours(day.timestamp() + 0.9999999) == "2026-11-29 00:00:01.000000"
    with pytest.raises(ValueError, match="without a time zone"):
        ours(datetime(2026, 11, 29))  # noqa: DTZ001 - that is the point
