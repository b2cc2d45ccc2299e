"""What a chaos run acts on: a supervisor with two workers, Redis, PostgreSQL and a model server, all of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer

from bench.guard import MARK, Guard, descendants
from bench.model import MODEL
from bench.processes import free_port

KEYS = {
    name: f"api_{digit * 32}" for name, digit in (("caller", "1"), ("limited", "2"), ("probe", "3"), ("admin", "4"))
}
WORKERS = 2
LIMITED = "content.generateVideoScript"
LIMIT, LIMIT_WINDOW_S = 20, 10
HIGH = "100000000/minute"
PRICES = {MODEL: {"input": 1.0, "output": 2.0}}
READY_WITHIN_S = 60
STOP_WITHIN_S = 60
DRAIN_S = 5


class Stage:
    """Starts everything, and does to it what the faults ask for."""

    def __init__(self, guard: Guard, environment: Mapping[str, str]) -> None:
        self._guard = guard
        self.folder = guard.folder
        self.journal = guard.folder / "model.journal"
        self.log = guard.folder / "server.log"
        self.port, self.model_port = free_port(), free_port()
        self.redis = RedisServer()
        self.postgres = PostgresServer()
        self._environment = {**os.environ, MARK: str(self.folder), **self._settings(), **environment}
        self._server: subprocess.Popen[bytes] | None = None
        self._model: subprocess.Popen[bytes] | None = None
        self.killed_at: list[float] = []
        """When workers were killed, on the system's clock."""

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start everything, and wait until the server is ready."""
        self.start_redis()
        self.start_postgres()
        self.start_model()
        self.start_server()
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.is_ready() or len(self.workers()) < WORKERS:
            if time.monotonic() > deadline:
                raise RuntimeError(f"The server did not come up:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def close(self) -> None:
        """Remove what Redis and PostgreSQL keep outside the folder. The guard ends whatever processes are left."""
        with suppress(OSError):
            self.redis.remove()
        with suppress(OSError, subprocess.TimeoutExpired):
            self.postgres.resume()
        with suppress(OSError, subprocess.TimeoutExpired):
            self.postgres.stop()

    def start_redis(self) -> None:
        """Start Redis, with no data."""
        self.redis.start()
        self._guard.watch(self.redis.pid)

    def start_postgres(self) -> None:
        """Start PostgreSQL with the data that it had."""
        self.postgres.start()
        self._guard.watch(self.postgres.pid)

    def start_model(self) -> None:
        """Start the model server."""
        command = [sys.executable, "-m", "bench.chaos.model", str(self.model_port), str(self.journal)]
        self._model = self._run(command, self.folder / "model.log")

    def start_server(self) -> None:
        """Start the supervisor, as a process manager would."""
        self._server = self._run([sys.executable, "-m", "amrikyy", "serve"], self.log)

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        assert self._server is not None
        return sorted(descendants(self._server.pid))

    def kill_workers(self, pids: Sequence[int]) -> None:
        """Kill workers, as `kill -9` does."""
        self.killed_at.append(time.time())
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def signal_server(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        assert self._server is not None
        self._server.send_signal(number)

    def kill_server(self) -> None:
        """Kill the supervisor, and wait for its workers, which end by themselves."""
        assert self._server is not None
        workers = self.workers()
        self.killed_at.append(time.time())
        self._server.kill()
        self._server.wait()
        deadline = time.monotonic() + DRAIN_S + 10
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop_server(self) -> int:
        """Ask the server to stop. Returns its exit code; -9 if it had to be killed."""
        assert self._server is not None
        self._server.terminate()
        try:
            return self._server.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            return self._server.wait()

    def signal_model(self, number: signal.Signals) -> None:
        """Send the model server a signal."""
        assert self._model is not None
        self._model.send_signal(number)
        if number == signal.SIGKILL:
            self._model.wait()

    def is_ready(self) -> bool:
        """Whether the server reports that it is ready."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/api/health/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _run(self, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                command, env=self._environment, stdout=output, stderr=output, start_new_session=True
            )
        self._guard.watch(process.pid)
        return process

    def _settings(self) -> dict[str, str]:
        limits = dict.fromkeys(("global", "admin", "travel", "travel.searchFlights", "content"), HIGH)
        limits |= {"content.generateBlogPost": HIGH, LIMITED: f"{LIMIT}/{LIMIT_WINDOW_S} seconds"}
        keys = ",".join(f"{key}:{'admin' if name == 'admin' else 'premium'}" for name, key in KEYS.items())
        return {
            "APP_ENV": "production", "HOST": "127.0.0.1", "PHASE2_PORT": str(self.port),
            "WEB_CONCURRENCY": str(WORKERS), "DATA_DIR": str(self.folder / "data"),
            "DATABASE_URL": self.postgres.url, "REDIS_URL": self.redis.url, "JWT_SECRET": "chaos-" * 8,
            "VALID_API_KEYS": keys,
            "ALLOWED_ORIGINS": "http://localhost:5173", "GEMINI_API_KEY": "chaos", "GEMINI_MODEL": MODEL,
            "GEMINI_BASE_URL": f"http://127.0.0.1:{self.model_port}", "MODEL_PRICES": json.dumps(PRICES),
            "RATE_LIMITS": json.dumps(limits), "RATE_LIMIT_WHITELIST": "", "DRAIN_TIMEOUT_S": str(DRAIN_S),
            "MAX_WORKFLOWS_PER_CALLER": "500",
        }  # fmt: skip
