"""Makes sure that nothing outlives a run: `python bench/guard.py FOLDER` kills what it was told of at its input's end.

It runs in a session of its own, so neither Ctrl+C nor a `kill -9` of the run stops it. Each line of its input is a
process id. Processes that have the run's mark in their environment are killed, too.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "BENCH_RUN"
"""An environment variable of everything that a run starts; its value is the run's folder."""

SWEEPS = 20


class Guard:
    """The run's side of the guard process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(  # noqa: S603 - this file
            [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, pid: int) -> None:
        """Have this process and its descendants killed when the run ends."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % pid)
        self._process.stdin.flush()

    def close(self) -> None:
        """Kill everything now, and remove the folder."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def guarded(name: str) -> Iterator[Guard]:
    """A new folder and its guard. SIGTERM ends the run as Ctrl+C does."""
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    folder.chmod(0o755)
    guard = Guard(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell makes its background jobs ignore it
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield guard
    finally:
        signal.signal(signal.SIGTERM, before)
        guard.close()


def processes() -> dict[int, int]:
    """The parent's id of each process that has not ended, by process id."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                found[int(entry.name)] = int(parent)
    return found


def descendants(root: int) -> list[int]:
    """The ids of all descendants of a process."""
    parents = processes()
    found = [root]
    for each in found:
        found += [pid for pid, parent in parents.items() if parent == each]
    return found[1:]


def _guard(folder: Path) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    began = {pid: _began(pid) for pid in map(int, sys.stdin)}
    for _ in range(SWEEPS):
        told = [pid for pid, since in began.items() if since is not None and _began(pid) == since]
        marked = [pid for pid in processes() if _is_marked(pid, str(folder))]
        ending = {each for pid in (*told, *marked) for each in (pid, *descendants(pid))} - {os.getpid()}
        if not ending:
            break
        for pid in ending:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        os.sched_yield()
        signal.sigtimedwait([], 0.1)
    shutil.rmtree(folder, ignore_errors=True)


def _began(pid: int) -> str | None:
    """When the process was started, which tells it from a later one with the same id; None if it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]


def _is_marked(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
