"""The servers that are measured: how each is started, and the credential it is called with."""

import base64
import hashlib
import hmac
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.model import MODEL
from bench.processes import LOAD_CORE, SERVER_CORE, Process, free_port

HERE = Path(__file__).parent
API_KEY = "api_" + "b" * 32
SECRET = "bench-" * 8
OFF = "100000000/minute"


@dataclass(frozen=True)
class Candidate:
    """A server that is measured.

    Attributes:
        name: unique; its column in the table.
        command: gives the command for a port.
        environment: gives the variables for a port, the model's URL and the server's folder.
        credential: the headers that let a caller in.
        ready: the path that answers 200 once it serves.
        core: the core that it runs on and that is watched.
        more_cores: further cores that it may run on.
        files: a folder whose contents are copied to its working directory.
    """

    name: str
    command: Callable[[int], list[str]]
    environment: Callable[[int, str, Path], Mapping[str, str]]
    credential: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/api/health/live"
    core: int = SERVER_CORE
    more_cores: tuple[int, ...] = ()
    files: Path | None = None


@dataclass
class Running:
    """A running candidate."""

    candidate: Candidate
    process: Process
    port: int
    started_s: float
    idle_bytes: int


def start(candidate: Candidate, model_url: str, folder: Path) -> Running:
    """Start a candidate in its own part of `folder` and wait until it is ready. A later start finds what it left there.

    Raises:
        RuntimeError: it does not come up.
    """
    port = free_port()
    folder = folder / candidate.name
    folder.mkdir(parents=True, exist_ok=True)
    if candidate.files is not None:
        shutil.copytree(candidate.files, folder, dirs_exist_ok=True)
    process = Process(
        candidate.name, candidate.command(port), cores=(candidate.core, *candidate.more_cores),
        environment=candidate.environment(port, model_url, folder), folder=folder,
    )  # fmt: skip
    started_s = process.wait_until_ready(port, candidate.ready)
    time.sleep(0.3)  # for what a server still does after it has reported ready
    return Running(candidate, process, port, started_s, process.resident_bytes)


def amrikyy(name: str = "amrikyy", **environment: str) -> Candidate:
    """Our server as `amrikyy serve` starts it, with all features on, or a variant with other settings.

    Limits are counted, but are so high that they never refuse. MAX_CONCURRENT_STREAMS admits 10,000 streams.
    """
    limited = ("global", "travel", "travel.searchFlights", "content", "content.generateBlogPost")

    def variables(port: int, model_url: str, folder: Path) -> Mapping[str, str]:
        return {
            "APP_ENV": "production", "HOST": "127.0.0.1", "PHASE2_PORT": str(port),
            "DATA_DIR": str(folder), "DATABASE_URL": f"sqlite:///{folder}/bench.db",
            "JWT_SECRET": SECRET, "VALID_API_KEYS": f"{API_KEY}:premium", "ALLOWED_ORIGINS": "http://localhost:5173",
            "GEMINI_API_KEY": "bench", "GEMINI_BASE_URL": model_url, "GEMINI_MODEL": MODEL,
            "RATE_LIMITS": json.dumps(dict.fromkeys(limited, OFF)), "MAX_CONCURRENT_STREAMS": "10000",
            "DRAIN_TIMEOUT_S": "1", **environment,
        }  # fmt: skip

    return Candidate(name, lambda _: [sys.executable, "-m", "amrikyy", "serve"], variables, {"x-api-key": API_KEY})


def bare() -> Candidate:
    """The upper bound: the same HTTP server with an app that does nothing."""
    return Candidate(
        "bare ASGI",
        lambda port: [sys.executable, str(HERE / "bare.py"), str(port)],
        lambda *_: {},
    )


def express(name: str = "Express", **environment: str) -> Candidate:
    """The peer from npm: an Express server of the guide's design, on Node, or a variant with other settings."""
    return Candidate(
        name,
        lambda _: ["node", str(HERE / "peers/express/server.js")],
        lambda port, model_url, _: {
            "NODE_ENV": "production", "PORT": str(port), "JWT_SECRET": SECRET,
            "GEMINI_API_KEY": "bench", "GEMINI_BASE_URL": model_url, **environment,
        },
        {"authorization": f"Bearer {_token({'sub': 'bench', 'role': 'user', 'exp': int(time.time()) + 86_400})}"},
    )  # fmt: skip


def missing() -> str | None:
    """What still has to be installed for the peers, or None."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (HERE / "peers/express/node_modules").exists():
        return "its packages are not installed: npm ci --prefix bench/peers/express"
    return None


def model(folder: Path) -> Running:
    """Start the model server, on the load generator's core."""
    port = free_port()
    command = [sys.executable, str(HERE / "model.py"), str(port)]
    process = Process("model", command, cores=(LOAD_CORE,), environment={}, folder=folder)
    started_s = process.wait_until_ready(port, "/")
    candidate = Candidate("model", lambda _: command, lambda *_: {}, core=LOAD_CORE)
    return Running(candidate, process, port, started_s, process.resident_bytes)


@contextmanager
def side_by_side(candidates: Iterable[Candidate]) -> Iterator[tuple[dict[str, Running], Running]]:
    """Run all of them at the same time, with the model server; gives them by name. Their files are removed at the end.

    Raises:
        RuntimeError: one does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        models = model(folder)
        stack.callback(models.process.stop)
        started: dict[str, Running] = {}
        for candidate in candidates:
            started[candidate.name] = start(candidate, f"http://127.0.0.1:{models.port}", folder)
            stack.callback(started[candidate.name].process.stop)
        yield started, models


def _token(claims: Mapping[str, object]) -> str:
    """A JSON Web Token, HS256."""

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = encode(b'{"alg":"HS256","typ":"JWT"}') + "." + encode(json.dumps(claims).encode())
    return head + "." + encode(hmac.digest(SECRET.encode(), head.encode(), hashlib.sha256))
