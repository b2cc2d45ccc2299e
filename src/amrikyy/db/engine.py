"""Connections to SQLite or PostgreSQL, with errors that say who has to act."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal

import structlog
from sqlalchemy import event, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool

from amrikyy.db import urls
from amrikyy.db.asynchronous import AsyncConnection, AsyncEngine, create_async_engine
from amrikyy.db.bulk import Bulk, Row
from amrikyy.db.failures import is_unavailable, reason
from amrikyy.db.file import LOST, OpenFile
from amrikyy.errors import Unavailable

log = structlog.get_logger(__name__)

Dialect = Literal["sqlite", "postgresql"]
Use = Literal["read", "write"]

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 10
POOL_SIZE = 5
POOL_OVERFLOW = 2
"""With the three of the workflow engine at most ten connections a process: PostgreSQL's default of 100, of which it
keeps three for its superuser, then serves nine processes. With fourteen, 64 callers at once were served no faster."""

SQLITE_TURNS = 2
"""How many of a process' writers may be at SQLite: one that writes, and one that already asks for its lock. With one
alone, the lock would be free for some turns of the event loop after each, a third of the time in a busy process."""

PATIENT_LOCK_S = 600
"""How long an upgrade waits for that of another process."""


class Database:
    """An engine, and connections from it that turn an unreachable database into `Unavailable`."""

    def __init__(self, url: URL, engine: AsyncEngine) -> None:
        self._url = url
        self._turns = asyncio.Semaphore(SQLITE_TURNS)
        self._failing: set[Use] = set()
        self.engine = engine
        self.dialect: Dialect = "postgresql" if engine.dialect.name == "postgresql" else "sqlite"
        self._file = OpenFile(Path(self.name)) if self.dialect == "sqlite" else None
        if self._file is not None:
            event.listen(engine.sync_engine, "do_connect", self._file.check)

    @property
    def pool(self) -> QueuePool:
        """The connection pool, for metrics."""
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)
        return pool

    @property
    def product(self) -> str:
        """The name of the database system, for people."""
        return "PostgreSQL" if self.dialect == "postgresql" else "SQLite"

    @property
    def takes_writes(self) -> bool:
        """Whether the last transaction succeeded, and will last. One that fails says nothing about readers."""
        return "write" not in self._failing and not self._has_lost_its_file()

    @property
    def host(self) -> str:
        """PostgreSQL's host, for people; without credentials, whatever characters these contain."""
        return f"{self._url.host or 'localhost'}:{self._url.port or 5432}"

    @property
    def name(self) -> str:
        """The name of the database, or of its file."""
        return self._url.database or ""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading.

        Raises:
            Unavailable: the database cannot be reached, or answers too late.
        """
        with self._translated("read"):
            async with self.engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading, whose statements all see the same snapshot.

        Raises:
            Unavailable: the database cannot be reached, or answers too late.
        """
        with self._translated("read"):
            async with self.engine.connect() as connection:
                if self.dialect == "sqlite":
                    await connection.exec_driver_sql("BEGIN")
                else:
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                yield connection

    @asynccontextmanager
    async def begin(self, *, lock: int | None = None) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction, which is committed at the end and rolled back by an exception.

        Args:
            lock: the number of a lock that only one transaction at a time holds, over all processes on this database.

        Raises:
            Unavailable: the database cannot be reached, or answers too late.
        """
        with self._translated("write"):
            async with self._turn(), self.engine.begin() as connection:
                if self.dialect == "sqlite":
                    # The driver would only begin at the first write, when what was read before may be outdated.
                    await connection.exec_driver_sql("BEGIN IMMEDIATE")
                elif lock is not None:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
                yield connection

    async def write(self, *inserts: tuple[Bulk, Sequence[Row]]) -> None:
        """Write rows in one transaction.

        In SQLite that is a single job for the connection's thread: other writers do not wait for the turns that the
        event loop takes meanwhile.

        Raises:
            Unavailable: the database cannot be reached, or answers too late; nothing is written.
        """
        dialect = self.engine.dialect
        executions = [each for insert, rows in inserts if rows for each in insert.executions(dialect, rows)]
        if self.dialect == "sqlite":
            with self._translated("write"):
                async with self._turn(), self.engine.connect() as connection:
                    driver: Any = (await connection.get_raw_connection()).dbapi_connection
                    await driver.write(executions)
        else:
            async with self.begin() as connection:
                for statement, parameters in executions:
                    await connection.exec_driver_sql(statement, parameters)

    async def ping(self) -> None:
        """Check that the database answers, and that what it is given will last.

        Raises:
            Unavailable: it does not.
        """
        if self._has_lost_its_file():
            raise Unavailable(LOST, code="database_unavailable")
        async with self.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    @asynccontextmanager
    async def patient(self) -> AsyncIterator["Database"]:
        """The same database for an upgrade of the schema: its statements have no short timeout.

        On SQLite it does not enforce foreign keys: SQLite alters a table by rebuilding it, and dropping the old one
        would delete all rows that refer to it.
        """
        database = Database(self._url, _engine(self._url, patient=True))
        try:
            yield database
        finally:
            await database.close()

    def _has_lost_its_file(self) -> bool:
        return self._file is not None and self._file.is_lost()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """A turn to write to SQLite, which has one writer at a time.

        Its own lock is polled, by each who waits in a thread with a connection: of ten, some wait for seconds while the
        others come and go. So the writers of this process stand in a line, where they hold nothing.
        """
        if self.dialect != "sqlite":
            yield
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S if self._turns.locked() else None):
                await self._turns.acquire()
        except TimeoutError:
            raise TimeoutError(f"no turn to write came within {CONNECT_TIMEOUT_S} s") from None
        try:
            yield
        finally:
            self._turns.release()

    @contextmanager
    def _translated(self, use: "Use") -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not is_unavailable(error):
                raise
            if not self._failing:
                log.error("database_unavailable", reason=reason(error))
            self._failing.add(use)
            raise Unavailable(
                "The database cannot be used at the moment. Try again shortly.",
                code="database_unavailable",
                retry_after_s=2,
            ) from error
        if self._failing:
            # A successful read does not rule out a full disk, or a primary that has become a replica.
            self._failing -= {"read", use}
            if not self._failing:
                log.info("database_available_again")


def open_database(url: str) -> Database:
    """Open `sqlite:///path` or `postgresql://user:password@host/name`. Nothing is connected yet.

    Raises:
        ValueError: the URL is of another kind, or the file's folder cannot be created; the message names
            DATABASE_URL and shows no password.
    """
    parsed = urls.parse(url)
    return Database(parsed, _engine(parsed))


def _engine(url: URL, *, patient: bool = False) -> AsyncEngine:
    # Parameters are hidden: they include password hashes and prompts, and the text of an error is logged.
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, patient=patient)
    return _postgresql(url, patient=patient)


def _sqlite(url: URL, *, patient: bool) -> AsyncEngine:
    from amrikyy.db.sqlite_driver import SqliteDriver  # not where PostgreSQL is used

    assert url.database is not None
    _make_private(Path(url.database))
    engine = create_async_engine(
        url,
        module=SqliteDriver(),
        pool_size=POOL_SIZE,
        pool_use_lifo=True,  # each connection has its own cache, and rereads what another one has written
        max_overflow=POOL_OVERFLOW,
        pool_timeout=CONNECT_TIMEOUT_S,
        hide_parameters=True,
    )
    pragmas = (
        # Of a new file, and before it has a journal. A run with its result has 2 to 4 KB, and fills a usual page.
        "PRAGMA page_size=8192",
        "PRAGMA journal_mode=WAL",  # readers do not wait for the writer
        "PRAGMA synchronous=NORMAL",  # in WAL mode a power cut may cost the last transactions, never consistency
        # What a statement may have to undo went into a file beyond 64 KB: two fifths of all that was written.
        f"PRAGMA temp_store={'DEFAULT' if patient else 'MEMORY'}",
        f"PRAGMA busy_timeout={(PATIENT_LOCK_S if patient else CONNECT_TIMEOUT_S) * 1000}",
        f"PRAGMA foreign_keys={'OFF' if patient else 'ON'}",
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    return engine


def _make_private(path: Path) -> None:
    """Create the file and its folder for this user only: it will hold password hashes and prompts."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise ValueError(
            f"DATABASE_URL: {path} cannot be written: {error.strerror}. Let this user write in that folder, or name "
            "another, in DATA_DIR if DATABASE_URL is not set."
        ) from None


def _postgresql(url: URL, *, patient: bool) -> AsyncEngine:
    target = urls.postgresql_target(url)
    arguments: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT_S,
        "command_timeout": PATIENT_LOCK_S if patient else STATEMENT_TIMEOUT_S,
        **target.arguments,
    }
    if target.pooled:
        # Without asyncpg's and SQLAlchemy's caches, statements are unnamed and exist only until the next one, so that
        # no other transaction on the pooler's connection can miss them or collide with them.
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    return create_async_engine(
        target.url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=arguments,
    )
