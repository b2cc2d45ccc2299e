"""Whether the file of an SQLite database is still the one that was opened.

Who deletes it, or puts another one in its place, stops nothing: open connections go on with the old file, which has no
name any more, and all that is written is gone when they are closed. A new one would write to the other file, or make an
empty one.
"""

from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

LOST = (
    "The database's file was deleted, moved or replaced while the server uses it: what is written now is lost when the "
    "server stops. docs/runbook.md says under AmrikyyDatabaseAway how to save it."
)


class OpenFile:
    """An SQLite file that exists, as it is when this is made."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._opened = _identity(self._path)
        self._was_lost = False

    def is_lost(self) -> bool:
        """Whether there is none at its path any more, or another one. A change is logged."""
        found = _identity(self._path)
        lost = found != self._opened
        if lost and not self._was_lost:
            log.error("database_file_lost", path=str(self._path), now="missing" if found is None else "another file")
        elif self._was_lost and not lost:
            log.info("database_file_back", path=str(self._path))
        self._was_lost = lost
        return lost

    def check(self, *_: object) -> None:
        """Raise `FileNotFoundError` if it is lost; a listener to what is about to connect."""
        if self.is_lost():
            raise FileNotFoundError(f"{self._path} is not the file that was opened")


def _identity(path: Path) -> tuple[int, int] | None:
    """What no other file has at the same time; None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
