"""Many rows with one statement."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Boolean

from amrikyy.db.asynchronous import AsyncConnection

Process = Callable[[Any], Any]


class Bulk:
    """An INSERT that is put together once, and given to the driver with plain tuples.

    SQLAlchemy would go through every parameter of every row, which takes as long as SQLite takes to write them. What
    its types do to a value is done here, too, column by column: most columns need nothing.
    """

    __slots__ = ("_columns", "_statement", "_text")

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._text = ""
        self._columns: list[tuple[str, Process | None]] = []

    async def write(self, connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows, which have the statement's columns by name, all of them in the same order."""
        if not self._text:
            self._compile(connection)
        given = dict(zip(rows[0], zip(*map(dict.values, rows), strict=True), strict=True))
        columns = [map(process, given[name]) if process else given[name] for name, process in self._columns]
        await connection.exec_driver_sql(self._text, list(zip(*columns, strict=True)))

    def _compile(self, connection: AsyncConnection) -> None:
        dialect = connection.dialect
        compiled = self._statement.compile(dialect=dialect)

        def process_of(name: str) -> Process | None:
            kind = compiled.binds[name].type.dialect_impl(dialect)
            if isinstance(kind, Boolean):  # whose own processor checks what our rows have by their types
                return None if dialect.supports_native_boolean else int
            process: Process | None = kind.bind_processor(dialect)
            return process

        self._columns = [(name, process_of(name)) for name in compiled.positiontup]
        self._text = str(compiled)
