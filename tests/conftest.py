"""Fixtures for all tests: a fresh, migrated database, on SQLite and on PostgreSQL, a server on it, and a Redis."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from amrikyy.auth import Passwords
from amrikyy.db import Database, migrate, open_database
from amrikyy.settings import Settings
from tests.postgres import Postgres
from tests.redis_server import redis_server
from tests.serving import VALID_API_KEYS, MakeSettings, Served, serve

settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")

PROCESSES = (
    "tests/cli/test_drain.py",
    "tests/cli/test_workers.py",
    "tests/web/test_processes.py",
    "tests/workflows/test_durability.py",
)
"""Tests that start several server processes each: in parallel, none of them would get enough of the machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests that start several server processes to one worker."""
    for item in items:
        if item.nodeid.startswith(PROCESSES):
            item.add_marker(pytest.mark.xdist_group("processes"))


@pytest.fixture(scope="session", autouse=True)
def plain_tracebacks() -> None:
    """Format tracebacks as the server does: structlog's default draws every frame's variables, which takes seconds."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], renderer])


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[dict[str, int]]:
    """Set Argon2 to its lowest cost in this process: hundreds of logins would take minutes, and only test the library.

    The value is the parameters that are used elsewhere.
    """
    initialise: Any = Passwords.__init__
    real = dict(initialise.__kwdefaults__)
    initialise.__kwdefaults__.update(time_cost=1, memory_cost_kib=8, parallelism=1)
    yield real
    initialise.__kwdefaults__.update(real)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's PostgreSQL; it starts when the first database is asked for."""
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The session's Redis, which all tests share: each uses keys of its own."""
    if given := os.environ.get("TEST_REDIS_URL"):
        yield given
        return
    with redis_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy: faster than migrating for each test."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"

    async def make() -> None:
        database = open_database(f"sqlite:///{path}")
        await migrate.upgrade(database)
        await database.close()

    asyncio.run(make())
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of an SQLite database of the test's own, with the newest schema."""
    shutil.copy(sqlite_template, tmp_path / "test.db")
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture
def postgresql_url(postgres: Postgres) -> Iterator[str]:
    """The URL of a PostgreSQL database of the test's own, with the newest schema."""
    url = postgres.new_database()
    yield url
    postgres.release(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database of the test's own, with the newest schema. Tests that involve no SQL use one kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
    else:
        yield request.getfixturevalue("postgresql_url")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of the test's own, with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.new_database(empty=True)
    yield url
    postgres.release(url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The database of `database_url`, open."""
    opened = open_database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def make_settings(database_url: str, tmp_path: Path) -> MakeSettings:
    """Makes settings for a test, on SQLite and on PostgreSQL; keyword arguments take precedence."""

    def make(**overrides: Any) -> Settings:
        given: dict[str, Any] = {
            "app_env": "test",
            "data_dir": tmp_path,
            "database_url": database_url,
            "jwt_secret": "j" * 40,
            "valid_api_keys": VALID_API_KEYS,
            "models": "offline",
            "offline_tokens_per_s": 0,
            "stream_grace_s": 0.05,
            "rate_limit_whitelist": "127.0.0.1",  # tests of limits override this
        }
        return Settings.load(_env_file=None, **(given | overrides))

    return make


@pytest.fixture
async def server(make_settings: MakeSettings) -> AsyncIterator[Served]:
    """A server with the offline model."""
    async with serve(make_settings()) as served:
        yield served
