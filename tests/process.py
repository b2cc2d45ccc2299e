"""The server as a process of its own, as an operator starts it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.serving import VALID_API_KEYS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def server_process(folder: Path, **environment: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`amrikyy serve` with the offline model, ready, and its URL. Its output goes to `folder / "server.log"`."""
    port = free_port()
    given = {
        **os.environ, "PHASE2_PORT": str(port), "DATA_DIR": str(folder), "DATABASE_URL": "", "MODELS": "offline",
        "APP_ENV": "test", "VALID_API_KEYS": VALID_API_KEYS, "RATE_LIMIT_WHITELIST": "127.0.0.1", **environment,
    }  # fmt: skip
    output = folder / "server.log"
    with output.open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "amrikyy", "serve", env=given, cwd=folder, stdout=log, stderr=log,
            preexec_fn=_hear_hangups,
        )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while "ready to accept" not in output.read_text():
                assert server.returncode is None, output.read_text()
                await asyncio.sleep(0.02)
        yield server, f"http://127.0.0.1:{port}"
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


def _hear_hangups() -> None:
    """A server that is started under `nohup` ignores SIGHUP, and so it would if these tests are."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
