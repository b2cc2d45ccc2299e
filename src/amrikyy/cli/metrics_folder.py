"""The folder in which the workers of one supervisor count: made for it, and removed with it, however it ended."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from amrikyy.cli.output import fail

PREFIX = "amrikyy-workers-"


@contextmanager
def metrics_folder() -> Iterator[tuple[Path, int]]:
    """A new folder, and a descriptor that keeps it; whoever inherits that keeps it likewise.

    A supervisor that is killed cannot remove its folder. So the next one removes those that nobody keeps any more.

    Raises:
        Failure: there is no place for one.
    """
    try:
        parent = Path(tempfile.gettempdir())
        for left in parent.glob(f"{PREFIX}*"):
            _remove_if_left(left)
        # It has its name only once it is locked: another supervisor that starts at this moment would take it for left.
        unlocked = Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
    except OSError as error:
        fail(f"TMPDIR: several workers count in a folder there, and it cannot be made: {error.strerror}.")
    lock = os.open(unlocked, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = unlocked.rename(parent / unlocked.name.removeprefix("."))
        try:
            yield folder, lock
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):  # another user's, or kept, or another supervisor was faster
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_uid == os.geteuid():
                shutil.rmtree(folder)
        finally:
            os.close(lock)
