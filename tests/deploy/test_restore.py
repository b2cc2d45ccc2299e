"""The backup and the restore of the document for Compose, done with a PostgreSQL of the test's own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from amrikyy.db import migrate, open_database
from tests.deploy.files import ROOT
from tests.postgres_server import PostgresServer

DOCKER = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$2 $3 $4" in
"exec -T postgres") shift 4; exec "$@" ;;
"exec -T server") shift 4; exec "$PYTHON" -m "$@" ;;
esac
"""
"""What `docker compose exec` does, without containers."""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    own = PostgresServer()
    own.start()
    yield own
    own.stop()


def commands() -> tuple[str, str]:
    """The document's commands that make a backup, and those that restore it."""
    document = (ROOT / "docs/operations.md").read_text()
    backups = re.findall(r"`(docker compose exec [^`]*pg_dump[^`]*)`", document)
    restores = re.findall(r"```bash\n(docker compose stop server\n.*?)```", document, re.DOTALL)
    assert (len(backups), len(restores)) == (1, 1)
    return backups[0], restores[0]


async def test_what_was_backed_up_is_there_again_under_the_name_that_compose_knows(
    server: PostgresServer, tmp_path: Path
) -> None:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    url = f"postgresql://amrikyy@127.0.0.1:{server.port}/amrikyy"
    environment = {
        **os.environ, "PATH": f"{tmp_path}:{server.binaries}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"),
        "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PYTHON": sys.executable, "DATABASE_URL": url,
    }  # fmt: skip

    def run(script: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    async def do(*statements: str) -> None:
        database = open_database(url)
        async with database.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))
        await database.close()

    run("createdb -U amrikyy amrikyy")
    database = open_database(url)
    await migrate.upgrade(database)
    await database.close()
    await do("CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('backed up')")
    backup, restore = commands()
    run(backup)
    await do("UPDATE kept SET word = 'lost'", "CREATE TABLE newer (word text)")
    assert "The database is sound." in run(restore)
    assert run("psql -U amrikyy amrikyy -Atc 'SELECT word FROM kept'").strip() == "backed up"
    assert run("psql -U amrikyy amrikyy -Atc \"SELECT to_regclass('newer')\"").strip() == ""
    asked = [call for call in (tmp_path / "calls").read_text().splitlines() if " exec " not in call]
    assert asked == ["compose stop server", "compose up --detach --wait server"]
