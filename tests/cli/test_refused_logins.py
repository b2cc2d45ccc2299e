"""What the commands say when PostgreSQL does not let them in."""

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.cli.test_commands import amrikyy
from tests.postgres_server import PostgresServer
from tests.process import free_port


@pytest.fixture(scope="module")
def strict_postgres() -> Iterator[str]:
    """Host and port of a PostgreSQL that asks `careful` for the password and lets in only `amrikyy` besides."""

    async def prepare() -> None:
        connection = await asyncpg.connect(server.url)
        rules = await connection.fetchval("SHOW hba_file")
        await connection.execute("CREATE ROLE careful LOGIN PASSWORD 'right'")
        await connection.execute(
            f"COPY (VALUES ('host all careful all scram-sha-256'), ('host all amrikyy all trust')) TO '{rules}'"
        )
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    server = PostgresServer()
    server.start()
    asyncio.run(prepare())
    yield f"127.0.0.1:{server.port}"
    server.stop()


@pytest.mark.parametrize(
    ("user", "name", "reason"),
    [
        ("careful:hunter2", "postgres", "password authentication failed.*Correct the user or the password."),
        ("nobody:hunter2", "postgres", "no pg_hba.conf entry.*Correct the user, or let the server's pg_hba.conf admit"),
        ("amrikyy:hunter2", "nowhere", r'"nowhere" does not exist\. Correct its name, or make it with `createdb`\.'),
    ],
)
def test_a_login_that_postgresql_refuses_is_told_what_to_correct(
    tmp_path: Path, strict_postgres: str, user: str, name: str, reason: str
) -> None:
    url = f"postgresql://{user}@{strict_postgres}/{name}"
    for command in (("db", "check"), ("db", "backup", "b.dump"), ("serve", "--port", str(free_port()))):
        refused = amrikyy(tmp_path, *command, DATABASE_URL=url)
        assert refused.returncode == 1
        last = refused.stderr.rstrip().splitlines()[-1]
        assert re.search(f"DATABASE_URL: the database at {strict_postgres} cannot be reached: .*{reason}", last), last
        assert not {"Traceback", "hunter2"} & set(re.findall(r"\w+", refused.stderr))
        assert not (tmp_path / "b.dump").exists()


def test_a_postgresql_that_does_not_answer_is_said_not_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=1"
        refused = amrikyy(tmp_path, "db", "check", DATABASE_URL=url)
    assert "cannot be reached: it does not answer in time. Is it running, and are" in refused.stderr
