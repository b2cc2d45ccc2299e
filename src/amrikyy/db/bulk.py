"""Inserts of many rows with one statement."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import Boolean, Float
from sqlalchemy.engine import Dialect

Process = Callable[[Any], Any]
Row = dict[str, Any]

TOGETHER = (64, 16, 4, 1)
"""How many rows one execution of a statement may have in SQLite. Its driver releases the GIL for each, and waits up to
5 ms (`sys.getswitchinterval`) until a busy event loop gives it back. More rows would be faster still, but a connection
keeps the values that a statement was last executed with."""


class Bulk:
    """An INSERT that is compiled once, and passed to the driver with plain tuples.

    SQLAlchemy would process every parameter of every row, which takes as long as SQLite takes to write them. Here the
    types' processors are applied, too, but column by column: most columns have none.
    """

    __slots__ = ("_processes", "_statement", "_texts", "_values")

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self._texts: dict[int, str] = {}  # by the number of rows, descending
        self._processes: list[Process | None] = []
        self._values: Callable[[Row], tuple[Any, ...]] = tuple

    def executions(self, dialect: Dialect, rows: Sequence[Row]) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
        """The executions that write `rows`, which have the statement's columns by name: SQL texts with parameters."""
        if not self._texts:
            self._compile(dialect)
        columns = zip(*map(self._values, rows), strict=True)
        processed = [
            map(process, column) if process else column
            for process, column in zip(self._processes, columns, strict=True)
        ]
        values = list(zip(*processed, strict=True))
        done = 0
        for size, text in self._texts.items():
            end = len(values) - (len(values) - done) % size
            if size == 1:
                parameters = values[done:]
            else:
                parameters = [tuple(chain.from_iterable(values[at : at + size])) for at in range(done, end, size)]
            if parameters:
                yield text, parameters
            done = end

    def _compile(self, dialect: Dialect) -> None:
        compiled = self._statement.compile(dialect=dialect)

        def process_of(name: str) -> Process | None:
            kind = compiled.binds[name].type.dialect_impl(dialect)
            if isinstance(kind, Boolean):
                # SQLite's driver would ask around for a way to adapt a bool, which takes 2 us.
                return None if dialect.supports_native_boolean else int
            if isinstance(kind, Float):
                return None  # our rows have floats, or whole numbers, which every database takes for one
            process: Process | None = kind.bind_processor(dialect)
            return process

        names = compiled.positiontup
        self._values = itemgetter(*names)  # the values of one row, in the statement's order
        self._processes = [process_of(name) for name in names]
        text = str(compiled)
        if dialect.name == "sqlite":
            row = f"({', '.join('?' * len(names))})"
            assert row in text, "every column is a parameter"
            self._texts = {size: text.replace(row, ", ".join([row] * size), 1) for size in TOGETHER}
        else:
            self._texts = {1: text}
