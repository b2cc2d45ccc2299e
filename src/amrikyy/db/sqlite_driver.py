"""SQLAlchemy's adapter for aiosqlite, with a third of its thread switches.

The original's cursor is created, used and closed in the driver's thread, and each of the three is awaited. On a busy
server each wait takes a turn of the event loop and contends for the GIL: together more than SQLite needs to write a
batch. The overridden methods are private to SQLAlchemy 2.1, and may change: a test counts the thread switches.
"""

import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Any

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
)

Execution = tuple[str, Sequence[tuple[Any, ...]]]
"""A statement, with the parameters of each of its executions."""


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """A cursor that is created by its only execution, which fetches all rows, so that it need not be closed."""

    __slots__ = ()

    def _make_new_cursor(self, connection: Any) -> Any:
        return None

    def _aenter_cursor(self, cursor: Any) -> Any:
        return cursor

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        async with self._adapt_connection._execute_mutex:
            cursor = self._cursor = await self._connection.execute(operation, parameters)
            if cursor.description:
                self._rows = deque(await cursor.fetchall())

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> Any:
        async with self._adapt_connection._execute_mutex:
            self._cursor = await self._connection.executemany(operation, seq_of_parameters)

    async def _async_soft_close(self) -> None:
        """Do nothing: rows that were fetched stay readable."""

    def close(self) -> None:
        """Drop the rows."""
        self._rows.clear()


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()

    _cursor_cls = _Cursor

    async def write(self, executions: Sequence[Execution]) -> None:
        """Execute all of these in a transaction of their own, with one thread switch."""
        await self._connection._execute(_write, self._connection._conn, executions)

    def rollback(self) -> None:
        """Roll back only if a transaction is open: the pool calls this after each use."""
        connection = self._connection._connection
        if connection is not None and connection.in_transaction:
            super().rollback()


def _write(connection: sqlite3.Connection, executions: Sequence[Execution]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement, parameters in executions:
            connection.executemany(statement, parameters)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


class SqliteDriver(AsyncAdapt_aiosqlite_dbapi):
    """For `create_async_engine(module=…)`."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)

    def connect(self, *arguments: Any, **named: Any) -> _Connection:
        """A connection with these cursors."""
        return _Connection(self, super().connect(*arguments, **named).driver_connection)
