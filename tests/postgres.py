"""A real PostgreSQL for the tests: the server binaries of a wheel, started as an unprivileged user, removed at the end.

TEST_DATABASE_URL names a running server to use instead.
"""

import asyncio
import os
import uuid
from urllib.parse import urlsplit

import asyncpg

from amrikyy.db import migrate, open_database
from tests.postgres_server import PostgresServer

TEMPLATE = "amrikyy_template"
KEPT_TABLES = ("public.alembic_version", "public.spend_summed")
"""Tables with a row that a migration wrote and that must stay."""

END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
ALL_TABLES = (
    "SELECT schemaname || '.' || tablename FROM pg_tables "
    "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
)


class Postgres:
    """One server for the whole test session, and a fresh, migrated database for each test that asks."""

    def __init__(self) -> None:
        self._server: PostgresServer | None = None
        self._url = os.environ.get("TEST_DATABASE_URL")
        self._tables: list[str] = []  # of the newest schema, once the template has it
        self._emptied: list[str] = []

    def new_database(self, *, empty: bool = False) -> str:
        """The URL of a new database with the newest schema, or with nothing in it."""
        if not self._url:
            self._start()
        if not empty and self._emptied:
            return self._emptied.pop()
        if not empty and not self._tables:
            self._sql(f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
            asyncio.run(_upgrade(self._url_of(TEMPLATE)))
            self._tables = asyncio.run(_query(self._url_of(TEMPLATE), ALL_TABLES))
        name = f"test_{uuid.uuid4().hex[:12]}"
        self._sql(f"CREATE DATABASE {name}" if empty else f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self._url_of(name)

    def release(self, url: str) -> None:
        """Take back a database that `new_database` made.

        With the newest schema it is emptied for the next test, since creating one takes 80 ms; else it is removed.
        """
        reusable = asyncio.run(_empty(url, self._tables)) if self._tables else False
        if reusable:
            self._emptied.append(url)
        else:
            self._drop(url)

    def stop(self) -> None:
        """Stop the server and remove its files; on one that was running before, remove the databases."""
        if self._server is None:
            for url in [*self._emptied, *([self._url_of(TEMPLATE)] if self._tables else [])]:
                self._drop(url)
        if self._server is not None:
            self._server.stop()  # ends connections that a failed test left open

    def _url_of(self, name: str) -> str:
        assert self._url is not None
        return urlsplit(self._url)._replace(path=f"/{name}").geturl()

    def _drop(self, url: str) -> None:
        self._sql(f"DROP DATABASE IF EXISTS {urlsplit(url).path.lstrip('/')} WITH (FORCE)")

    def _sql(self, *statements: str) -> None:
        for statement in statements:
            asyncio.run(_query(self._url_of("postgres"), statement))

    def _start(self) -> None:
        self._server = PostgresServer()
        self._server.start()
        self._url = self._server.url


async def _query(url: str, statement: str) -> list[str]:
    """Run a statement, and return the first column."""
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def _empty(url: str, tables: list[str]) -> bool:
    """Delete all data, unless the schema has changed; returns whether it was deleted."""
    connection = await asyncpg.connect(url)
    try:
        if [row[0] for row in await connection.fetch(ALL_TABLES)] != tables:
            return False
        if await connection.fetchval("SELECT version_num FROM alembic_version") != migrate.head():
            return False
        await connection.execute(END_OTHERS)
        await connection.execute(f"TRUNCATE {', '.join(name for name in tables if name not in KEPT_TABLES)}")
        await connection.execute("UPDATE spend_summed SET through = 0")
        return True
    finally:
        await connection.close()


async def _upgrade(url: str) -> None:
    database = open_database(url)
    await migrate.upgrade(database)
    await database.close()
