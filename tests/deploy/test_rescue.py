"""The runbook's way to save an SQLite database whose file has no name any more, done with a real server."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.deploy.files import ROOT
from tests.process import server_process
from tests.serving import KEYS

SYSTEMCTL = """#!/bin/sh
echo "$*" >> calls
if [ "$1" = stop ]; then kill "$PID" && tail --pid="$PID" -f /dev/null; fi
"""
AMRIKYY = """#!/bin/sh
exec "$PYTHON" -m amrikyy "$@"
"""


def commands() -> str:
    passage = (ROOT / "docs/runbook.md").read_text().partition("\n## AmrikyyDatabaseAway\n")[2].partition("\n## ")[0]
    (found,) = re.findall(r"```bash\n(.*?)```", passage, re.DOTALL)
    return str(found)


def descriptor(pid: int, name: str) -> str:
    """A number under which a process has a file open."""
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, as connections are
            if each.readlink().name == name:
                return each.name
    raise AssertionError(f"{name} is not open")


async def blog(http: aiohttp.ClientSession, url: str, topic: str) -> None:
    async with http.post(f"{url}/api/agents/content/generateBlogPost", json={"topic": topic, "length": "short"}) as got:
        assert got.status == 200


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc is Linux's")
@pytest.mark.parametrize("instead", ["nothing", "another"])
async def test_what_a_server_has_written_to_a_file_that_is_gone_is_there_again(tmp_path: Path, instead: str) -> None:
    for name, script in (("systemctl", SYSTEMCTL), ("amrikyy", AMRIKYY)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    file = tmp_path / "amrikyy.db"
    async with (
        server_process(tmp_path) as (server, url),
        aiohttp.ClientSession(headers={"x-api-key": KEYS["admin"]}) as http,
    ):
        await blog(http, url, "before")
        if instead == "nothing":
            for each in tmp_path.glob("amrikyy.db*"):
                each.unlink()
        else:
            (tmp_path / "other").write_text("not it")
            (tmp_path / "other").rename(file)
        await blog(http, url, "after")
        wal = "amrikyy.db-wal (deleted)" if instead == "nothing" else "amrikyy.db-wal"
        environment = {
            **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable, "PID": str(server.pid),
            "DATA_DIR": str(tmp_path), "DATABASE_URL": "",
            "DB": descriptor(server.pid, "amrikyy.db (deleted)"), "WAL": descriptor(server.pid, wal),
        }  # fmt: skip
        done = await asyncio.to_thread(
            subprocess.run, ["bash", "-ec", commands()], cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert "amrikyy.db is now as rescued.db has it." in done.stdout
        assert await server.wait() == 0, (tmp_path / "server.log").read_text()
    assert (tmp_path / "calls").read_text().splitlines() == ["stop amrikyy", "start amrikyy"]
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM runs WHERE status = 'completed'").fetchone() == (2,)
    assert file.stat().st_mode & 0o777 == 0o600
