"""The schema and its versions."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from amrikyy.db import Database, migrate, open_database
from amrikyy.db.tables import metadata
from amrikyy.errors import Unavailable


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Database]:
    opened = open_database(empty_database_url)
    yield opened
    await opened.close()


async def tables(database: Database) -> set[str]:
    async with database.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_the_migrations_make_exactly_the_tables(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrations_can_be_taken_back_and_applied_again(database: Database) -> None:
    def back_and_forth(connection: Connection) -> list[str]:
        from alembic import command

        command.downgrade(migrate.alembic_config(connection), "base")
        left = [name for name in inspect(connection).get_table_names() if name != "alembic_version"]
        command.upgrade(migrate.alembic_config(connection), "head")
        return left

    async with database.begin() as connection:
        assert await connection.run_sync(back_and_forth) == []


def test_the_program_knows_its_newest_migration() -> None:
    assert ScriptDirectory.from_config(migrate.alembic_config(None)).get_heads() == [migrate.head()]


async def test_several_processes_may_upgrade_at_once(empty: Database, empty_database_url: str) -> None:
    assert await migrate.current(empty) is None
    databases = [open_database(empty_database_url) for _ in range(4)]
    await asyncio.gather(*(migrate.upgrade(each) for each in databases))
    for each in databases:
        assert await migrate.current(each) == migrate.head()
        await migrate.check(each)
        await each.close()


async def test_a_database_that_is_not_up_to_date_is_named(empty: Database) -> None:
    with pytest.raises(Unavailable) as caught:
        await migrate.check(empty)
    assert caught.value.code == "database_outdated"


async def test_a_newer_programs_database_is_left_alone(database: Database) -> None:
    async with database.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Unavailable) as caught:
        await migrate.upgrade(database)
    assert caught.value.code == "database_newer"
    assert await migrate.current(database) == "9999"


async def test_a_migration_that_fails_leaves_nothing_behind(empty: Database) -> None:
    async with empty.begin() as connection:
        await connection.execute(text("CREATE TABLE users (id INTEGER)"))  # in the way of the third table
    with pytest.raises(DBAPIError):
        await migrate.upgrade(empty)
    assert await tables(empty) == {"users"}


def test_a_start_with_an_up_to_date_database_does_not_load_alembic(database_url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from amrikyy.db import migrate, open_database\n"
        "async def main():\n"
        "    database = open_database(sys.argv[1])\n"
        "    await migrate.upgrade(database)\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, database_url], check=True)


async def test_an_upgrade_may_make_a_table_anew_without_deleting_what_refers_to_it(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/a.db")
    async with database.patient() as patient, patient.connect() as connection:
        assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar_one() == 0
    async with database.connect() as connection:
        assert (await connection.exec_driver_sql("PRAGMA foreign_keys")).scalar_one() == 1
    await database.close()
