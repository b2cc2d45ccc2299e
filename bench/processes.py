"""Processes on a core of their own: started, watched through /proc, stopped."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
LOAD_CORE = CORES[-1]

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
READY_WITHIN_S = 90
STOP_WITHIN_S = 30


@contextmanager
def on(*cores: int) -> Iterator[None]:
    """Run this process, and what it starts, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def busy_s(core: int) -> float:
    """Seconds that a core has been busy since boot, with any process."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, _, numbers = line.partition(" ")
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, softirq, steal, *_ = map(int, numbers.split())
            return (user + nice + system + irq + softirq + steal) / TICKS_PER_S
    raise LookupError(f"there is no core {core}")


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A program running on one or more cores.

    Args:
        name: for messages.
        command: what is executed.
        cores: the cores that it may run on.
        environment: added to a nearly empty one, so that nothing of the caller's shell changes what is measured.
        folder: its working directory; its output is kept there.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, cores: Sequence[int], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        kept = {
            key: os.environ[key] for key in ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV") if key in os.environ
        }
        self.executed_at = time.perf_counter()
        with self._log.open("ab") as log, on(*cores):
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                command, env={**kept, **environment}, cwd=folder, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until_ready(self, port: int, path: str) -> float:
        """Wait until it answers a GET with 200. Returns the seconds since it was executed.

        Raises:
            RuntimeError: it ended, or took too long and was stopped; the message has the end of its output.
        """
        while (waited_s := time.perf_counter() - self.executed_at) < READY_WITHIN_S:
            if self._process.poll() is not None:
                break
            connection = HTTPConnection("127.0.0.1", port, timeout=READY_WITHIN_S - waited_s)
            try:
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return time.perf_counter() - self.executed_at
            except OSError:
                time.sleep(0.005)
            finally:
                connection.close()
        self.stop()
        output = self._log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.name} did not come up:\n{output}")

    @property
    def family(self) -> list[int]:
        """Its process id and those of all its descendants."""
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):  # it has just ended
                    found += map(int, task.read_text().split())
        return found

    @property
    def cpu_s(self) -> float:
        """CPU seconds used so far, user and system, by all its threads and its living descendants."""
        total = 0.0
        for pid in self.family:
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        return total

    @property
    def resident_bytes(self) -> int:
        """Resident memory, including its descendants'."""
        total = 0
        for pid in self.family:
            with suppress(OSError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                total += pages * resource.getpagesize()
        return total

    @property
    def descriptors(self) -> int:
        """How many file descriptors it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def descriptor_limits(self) -> tuple[int, int]:
        """Its soft and its hard limit of open file descriptors."""
        return resource.prlimit(self.pid, resource.RLIMIT_NOFILE)

    def stop(self) -> None:
        """Ask it to stop, and kill it if it does not."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
