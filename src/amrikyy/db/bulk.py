"""Many rows with one statement."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from amrikyy.db.asynchronous import AsyncConnection

Process = Callable[[Any], Any]


class Bulk:
    """An INSERT that is put together once, and given to the driver with plain tuples.

    SQLAlchemy would go through every parameter of every row, which takes as long as SQLite takes to write them. What
    its types do to a value is done here, too.
    """

    __slots__ = ("_columns", "_statement", "_text")

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._text = ""
        self._columns: list[tuple[str, Process | None]] = []

    async def write(self, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows, which have the statement's columns by name."""
        if not self._text:
            self._compile(connection)
        columns = self._columns
        values = [tuple([process(row[name]) if process else row[name] for name, process in columns]) for row in rows]
        await connection.exec_driver_sql(self._text, values)

    def _compile(self, connection: AsyncConnection) -> None:
        dialect = connection.dialect
        compiled = self._statement.compile(dialect=dialect)
        types = {name: bind.type.dialect_impl(dialect) for name, bind in compiled.binds.items()}
        self._columns = [(name, types[name].bind_processor(dialect)) for name in compiled.positiontup]
        self._text = str(compiled)
