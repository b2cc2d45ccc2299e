"""Whether the file of an SQLite database is still the one that was opened.

Who deletes it, or puts another one in its place, stops nothing: open connections go on with the old file, which has no
name any more, and all that is written is gone when they are closed.
"""

from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

LOST = (
    "The database's file was deleted or replaced while the server uses it: what is written now is lost when the "
    "server stops. docs/runbook.md says under AmrikyyDatabaseAway how to save it."
)


class OpenFile:
    """An SQLite file that exists, as it is when this is made.

    Attributes:
        is_lost: whether the last look found none, or another one, at its path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._opened = _identity(self._path)
        self.is_lost = False

    def look(self) -> None:
        """Look again. A change is logged."""
        found = _identity(self._path)
        was_lost, self.is_lost = self.is_lost, found != self._opened
        if self.is_lost and not was_lost:
            log.error("database_file_lost", path=str(self._path), now="missing" if found is None else "another file")
        elif was_lost and not self.is_lost:
            log.info("database_file_back", path=str(self._path))


def _identity(path: Path) -> tuple[int, int] | None:
    """What no other file has at the same time; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
