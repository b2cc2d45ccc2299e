"""Several worker processes on one listening socket: kept alive, replaced one by one, stopped together.

Signals: SIGTERM and SIGINT stop, SIGHUP replaces every worker by a new one. The socket stays open here throughout,
so no connection is refused. A worker holds one end of a socket pair: it says on it that it is ready, and stops when
the other end is closed, so that none outlives its supervisor, however that ended.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from amrikyy.cli.output import fail

log = structlog.get_logger(__name__)

WORKER = "AMRIKYY_WORKER"
"""Set in a worker's environment: the descriptors of the listening socket and of its link, and 1 if it greets."""

READY = b"1"
"""What a worker says on its link once it serves."""

RESET = b"r"
"""What a worker says to have all workers' metrics start again from zero, and what each of them is then told."""

READY_TIMEOUT_S = 60
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
"""So much longer an outage lasts at most that kept workers from starting, once it is over."""

STEADY_S = 10.0
"""A worker that lived this long had started and served: what killed it then says nothing about the next one, so that
the pause is the first one again. Only those that die sooner wait longer each time."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD) if sys.platform != "win32" else ()


@dataclass(eq=False)
class Worker:
    """A worker process."""

    process: "subprocess.Popen[bytes]"
    link: socket.socket
    began: float = field(default_factory=time.monotonic)
    ready: bool = False
    deaf: bool = False
    stopping: bool = False

    def stop(self) -> None:
        """Ask it to finish what is in progress and end."""
        self.stopping = True
        self.process.terminate()


class Supervisor:
    """Keeps `count` workers on `listening`, each given `grace_s` to finish when it is stopped."""

    def __init__(self, listening: socket.socket, count: int, grace_s: float) -> None:
        self._listening = listening
        self._count = count
        self._grace_s = grace_s
        self._workers: list[Worker] = []
        self._outdated: list[Worker] = []
        self._started = False
        self._failures = 0
        self._not_before = 0.0
        self._metrics = ""
        self._lock: tuple[int, ...] = ()

    def run(self) -> int:
        """Supervise until told to stop. 0: all ended by themselves; 1: the first never started, or one was killed."""
        wake, woken = socket.socketpair()
        woken.settimeout(0)  # as a wake-up descriptor must be
        for each in SIGNALS:
            signal.signal(each, lambda *_: None)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        from amrikyy.cli.metrics_folder import metrics_folder  # imported late: Windows has no such locks

        with metrics_folder() as (folder, lock), wake, woken:
            self._metrics, self._lock = str(folder), (lock,)
            return self._supervise(wake)

    def _supervise(self, wake: socket.socket) -> int:
        # The first one alone: it upgrades the schema and greets, and if it cannot start, the others could not either.
        try:
            first = self._start_worker(greets=True)
        except OSError as error:
            fail(f"The system has no room for a worker process: {error.strerror}.")
        while True:
            told = self._wait(wake)
            if signal.SIGTERM in told or signal.SIGINT in told:
                return self._stop(wake)
            if not self._started and first.process.poll() is not None:
                if first.process.returncode > 0:
                    return 1  # it has said why
                fail(f"The first worker was ended before it was ready, for which it has {READY_TIMEOUT_S} s.")
            self._bury()
            if signal.SIGHUP in told:
                log.info("workers_reload", workers=len(self._workers))
                self._outdated = [worker for worker in self._workers if not worker.stopping]
            self._replenish()

    def _replenish(self) -> None:
        """Start what is missing: one more than wanted while an outdated one waits for its replacement."""
        serving = [worker for worker in self._workers if not worker.stopping]
        starting = [worker for worker in serving if not worker.ready]
        if self._outdated and not starting and len(serving) > self._count:
            self._outdated.pop(0).stop()
            serving.pop()
        wanted = self._count + bool(self._outdated)
        if not self._started or time.monotonic() < self._not_before:
            return
        if self._outdated:
            wanted = min(wanted, len(serving) + 1)
        for _ in range(wanted - len(serving)):
            if time.monotonic() >= self._not_before:
                self._spawn()

    def _spawn(self) -> None:
        """Start a worker. When the system has no room for one, those that serve go on, and it is tried again later."""
        try:
            self._start_worker()
        except OSError as error:
            pause = self._pause_longer()
            log.error("worker_not_started", reason=str(error), retry_in_s=pause)

    def _start_worker(self, *, greets: bool = False) -> Worker:
        ours, theirs = socket.socketpair()
        descriptors = (self._listening.fileno(), theirs.fileno())
        environment = {
            **os.environ,
            WORKER: f"{descriptors[0]},{descriptors[1]},{int(greets)}",
            "PROMETHEUS_MULTIPROC_DIR": self._metrics,
        }
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: S603 - this program, with the arguments it was itself given
                    [sys.executable, "-m", "amrikyy", *sys.argv[1:]],
                    env=environment,
                    pass_fds=(*descriptors, *self._lock),
                    process_group=0,  # Ctrl+C reaches the supervisor alone, which passes it on
                )
            except OSError:
                ours.close()
                raise
        worker = Worker(process, ours)
        self._workers.append(worker)
        log.info("worker_started", worker=process.pid)
        return worker

    def _wait(self, wake: socket.socket) -> set[int]:
        """Listen to workers for half a second at most, and return the signals that came meanwhile."""
        links = {worker.link: worker for worker in self._workers if not worker.deaf}
        readable, _, _ = select.select([wake, *links], [], [], 0.5)
        for link in readable:
            if link is not wake:
                self._hear(links[link])
        for worker in links.values():
            if not worker.ready and time.monotonic() - worker.began > READY_TIMEOUT_S:
                worker.process.kill()
        return set(wake.recv(256)) if wake in readable else set()

    def _hear(self, worker: Worker) -> None:
        try:
            said = worker.link.recv(1)
        except OSError:  # it died without having read what it was told
            said = b""
        if said == READY:
            worker.ready = self._started = True
            log.info("worker_ready", worker=worker.process.pid)
        elif said == RESET:
            self._reset_metrics()
        else:
            worker.deaf = True  # it is ending

    def _reset_metrics(self) -> None:
        """Tell every worker, and forget the counts of those that have ended."""
        living = {str(worker.process.pid) for worker in self._workers}
        for file in Path(self._metrics).glob("*.db"):
            kind, _, pid = file.stem.rpartition("_")
            if kind in ("counter", "histogram") and pid not in living:
                file.unlink(missing_ok=True)
        for worker in self._workers:
            with suppress(OSError):
                worker.link.send(RESET)

    def _bury(self) -> None:
        """Forget workers that have ended. One that was not told to stop delays the next start, longer each time."""
        from prometheus_client.multiprocess import mark_process_dead

        for worker in [each for each in self._workers if each.process.poll() is not None]:
            self._workers.remove(worker)
            worker.link.close()
            mark_process_dead(worker.process.pid, self._metrics)  # type: ignore[no-untyped-call]  # it has no types
            if worker in self._outdated:
                self._outdated.remove(worker)
            log.info("worker_ended", worker=worker.process.pid, exit_code=worker.process.returncode)
            if worker.stopping:
                continue
            lived = time.monotonic() - worker.began
            pause = self._pause_longer(steady=lived > STEADY_S)
            log.warning("worker_died", worker=worker.process.pid, lived_s=round(lived, 1), restart_in_s=pause)

    def _pause_longer(self, *, steady: bool = False) -> float:
        """Seconds until the next start."""
        self._failures = 0 if steady else self._failures + 1
        pause: float = min(FIRST_PAUSE_S * 2 ** max(self._failures - 1, 0), LONGEST_PAUSE_S)
        self._not_before = time.monotonic() + pause
        return pause

    def _stop(self, wake: socket.socket) -> int:
        self._listening.close()
        for worker in self._workers:
            worker.stop()
        deadline = time.monotonic() + self._grace_s
        killed = False
        while self._workers:
            again = signal.SIGINT in self._wait(wake)
            if again or time.monotonic() > deadline:
                killed = True
                for worker in self._workers:
                    worker.process.kill()
            self._bury()
        log.info("workers_stopped", exit_code=int(killed))
        return int(killed)
