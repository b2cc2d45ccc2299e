"""Third-party servers, run from binaries in wheels: started as an unprivileged user, paused and killed at will."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 20

ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}


def unprivileged() -> dict[str, Any]:
    """Arguments of `subprocess` for a program that must not run as root; none if we are not root ourselves."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")  # its group is nogroup here and nobody there
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class OwnServer(ABC):
    """A server of the test's own, on a port that it keeps when it is killed and started again.

    Args:
        name: what kind of server it is.
        port: where it listens.
    """

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._folder = Path(tempfile.mkdtemp(prefix=f"amrikyy-{name.lower()}-"))
        self._server: subprocess.Popen[bytes] | None = None
        self.port = port

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """The command that starts it."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it is ready to be used."""

    def start(self) -> None:
        """Start it, and wait until it is ready to be used."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._server is None or self._server.poll() is not None:
                # Tried again: while it was down, a client on this machine may have been given its port for a moment.
                self._server = self._started()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the test's own {self._name} did not come up on port {self.port}")
            time.sleep(0.01)

    def _started(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command(), cwd=self._folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, **unprivileged(),
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The id of its first process."""
        assert self._server is not None
        return self._server.pid

    def pause(self) -> None:
        """Stop it, so that it accepts connections and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """Kill it if it runs, and remove its files."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self._server is not None:
            self._signal(number)
            self._server.wait(timeout=10)
            self._server = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        self._server.send_signal(number)
