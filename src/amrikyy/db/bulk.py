"""Many rows with one statement."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Boolean

from amrikyy.db.asynchronous import AsyncConnection

Process = Callable[[Any], Any]


class Bulk:
    """An INSERT that is put together once, and given to the driver with plain tuples.

    SQLAlchemy would go through every parameter of every row, which takes as long as SQLite takes to write them. What
    its types do to a value is done here, too, column by column: most columns need nothing.
    """

    __slots__ = ("_processes", "_statement", "_text", "_values")

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._text = ""
        self._processes: list[Process | None] = []
        self._values: Callable[[dict[str, Any]], tuple[Any, ...]] = tuple

    async def write(self, connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows, which have the statement's columns by name."""
        if not self._text:
            self._compile(connection)
        columns = zip(*map(self._values, rows), strict=True)
        processed = [
            map(process, column) if process else column
            for process, column in zip(self._processes, columns, strict=True)
        ]
        await connection.exec_driver_sql(self._text, list(zip(*processed, strict=True)))

    def _compile(self, connection: AsyncConnection) -> None:
        dialect = connection.dialect
        compiled = self._statement.compile(dialect=dialect)

        def process_of(name: str) -> Process | None:
            kind = compiled.binds[name].type.dialect_impl(dialect)
            if isinstance(kind, Boolean):  # whose own processor checks what our rows have by their types
                return None if dialect.supports_native_boolean else int
            process: Process | None = kind.bind_processor(dialect)
            return process

        names = compiled.positiontup
        self._values = itemgetter(*names)  # of one row, in the statement's order
        self._processes = [process_of(name) for name in names]
        self._text = str(compiled)
