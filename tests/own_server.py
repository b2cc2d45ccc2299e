"""Servers that are not ours, as binaries out of wheels: started as an unprivileged user, stopped and killed at will."""

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
    """How `subprocess` starts what must not be root's; nothing, where we are not root ourselves."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")  # its group is nogroup here and nobody there
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


class OwnServer(ABC):
    """A server of one's own, on a port that it keeps when it is killed and started again.

    Args:
        name: of the kind of server.
        port: where it listens.
    """

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._folder = Path(tempfile.mkdtemp(prefix=f"amrikyy-{name.lower()}-"))
        self._server: subprocess.Popen[bytes] | None = None
        self.port = port

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """What starts it."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it can be used."""

    def start(self) -> None:
        """Start it, and wait until it can be used."""
        self._server = subprocess.Popen(
            self._command(), cwd=self._folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, **unprivileged(),
        )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the test's own {self._name} did not come up on port {self.port}")
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """The number of its first process."""
        assert self._server is not None
        return self._server.pid

    def pause(self) -> None:
        """Have it accept connections and never answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """End it if it runs, and remove its files."""
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
