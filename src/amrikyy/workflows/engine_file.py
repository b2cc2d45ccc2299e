"""The engine's own file beside an SQLite database: nothing is lost with it, but damaged it is in the way."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from amrikyy.db.failures import is_damaged, reason
from amrikyy.db.faults import CURE_OF_ENGINE_FILE
from amrikyy.db.urls import beside, parse, sqlite_file
from amrikyy.errors import Unavailable

log = structlog.get_logger(__name__)

LOCK_TIMEOUT_S = 1


class EngineFile:
    """Knows whether the file is damaged, and logs once that it is, with its name and the cure.

    Args:
        database_url: the server's; on PostgreSQL there is no such file, and nothing is ever wrong with it.
    """

    def __init__(self, database_url: str) -> None:
        database = sqlite_file(parse(database_url))
        self._path: Path | None = beside(database) if database is not None else None
        self._damage: str | None = None

    async def damage(self) -> str | None:
        """That it is damaged, in a sentence for people; None if a look at its beginning and its last use were well."""
        if self._path is not None:
            self._note(await asyncio.to_thread(_look, self._path, self._damage))
        return self._sentence() if self._damage is not None else None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Around each use of the file.

        Raises:
            Unavailable: it is damaged.
        """
        try:
            yield
        except Exception as error:
            if self._path is None or not is_damaged(error):
                raise
            self._note(reason(error))
            raise Unavailable(self._sentence()) from error
        self._note(None)

    def _sentence(self) -> str:
        assert self._path is not None
        return (
            f"Workflows cannot be run: {self._path.name} is damaged. "
            "The server's log says what to do (workflow_file_damaged)."
        )

    def _note(self, damage: str | None) -> None:
        if damage is not None and self._damage is None:
            log.error("workflow_file_damaged", file=str(self._path), reason=damage, cure=CURE_OF_ENGINE_FILE)
        elif damage is None and self._damage is not None:
            log.info("workflow_file_sound_again", file=str(self._path))
        self._damage = damage


def _look(path: Path, known: str | None) -> str | None:
    """The damage that the first pages show, or else what is known from its use; that of a file that is gone is over."""
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        if is_damaged(error):
            return reason(error)
    return known
