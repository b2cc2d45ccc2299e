"""SQLAlchemy's adapter of aiosqlite, with a third of its changes of threads.

Its cursor is made, used and closed by the driver's thread, and each of the three is waited for. On a busy server each
wait takes a turn of the event loop and a fight for the interpreter: together more than SQLite needs to write a batch.
The methods are SQLAlchemy 2.1's own, and none that it promises to keep: a test counts the changes of threads.
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
"""A statement, and the parameters of each time that it is executed."""


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """Is made by what it executes, and need not be closed: its rows are all fetched, and it is used once."""

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
        """Nothing: what is read of a result stays readable."""

    def close(self) -> None:
        """Let go of the rows."""
        self._rows.clear()


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()

    _cursor_cls = _Cursor

    async def write(self, executions: Sequence[Execution]) -> None:
        """Execute all of this in a transaction of its own, with one change of threads."""
        await self._connection._execute(_write, self._connection._conn, executions)

    def rollback(self) -> None:
        """Where there is something to take back: the pool asks for it after each use."""
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
        """A connection with such cursors."""
        return _Connection(self, super().connect(*arguments, **named).driver_connection)
