"""DATABASE_URL: the forms that it may have, and its translation for the drivers."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

FORM = "DATABASE_URL must look like sqlite:///./data/amrikyy.db or postgresql://user:password@host:5432/name"

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_PASSED_ON = frozenset({
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "target_session_attrs", "application_name", "options", "search_path",
})  # fmt: skip
"""libpq's parameters that asyncpg understands in its own DSN."""

_IGNORED = frozenset({
    "channel_binding", "gssencmode", "sslnegotiation", "keepalives", "keepalives_idle", "connection_limit",
    "pool_timeout", "supa",
})  # fmt: skip
"""Parameters for other drivers in the connection strings that hosts show; without them a connection is no less safe."""

_SUFFIXES = frozenset({".db", ".sqlite", ".sqlite3"})

_TRANSACTION_POOLER_PORT = 6543
"""Supabase's pooler in transaction mode, where statements prepared on a connection are gone in the next transaction."""


@dataclass(frozen=True, slots=True)
class PostgresqlTarget:
    """Where and how to connect.

    Attributes:
        url: for SQLAlchemy, without a query string.
        arguments: for asyncpg's `connect`.
        pooled: a pooler may run each transaction on another connection, so that a connection must hold no state.
    """

    url: URL
    arguments: dict[str, Any]
    pooled: bool


def beside(path: Path) -> Path:
    """The file of the workflow engine beside an SQLite database, whose own suffix need not be one.

    `backup.2026-11-29` and `backup.2026-11-30` are two databases, and have each its own.
    """
    name = path.stem if path.suffix in _SUFFIXES else path.name
    return path.with_name(f"{name}-workflows.db")


def sqlite_file(url: URL) -> Path | None:
    """The path of an SQLite database; None on PostgreSQL."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database is not None else None


def missing_file(url: str) -> Path | None:
    """The path of an SQLite database that does not exist yet or is empty; None if there is one, or on PostgreSQL.

    Raises:
        ValueError: as `parse` does.
    """
    path = sqlite_file(parse(url))
    if path is None:
        return None
    try:
        return None if path.is_file() and path.stat().st_size else path.absolute()
    except PermissionError:  # whoever opens it says so
        return None


def parse(url: str) -> URL:
    """Parse the URL of an SQLite file or a PostgreSQL database; the backend's name is then one of these two.

    Raises:
        ValueError: it is something else; the message shows no password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(FORM) from None
    match parsed.get_backend_name():
        case "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ValueError(f"{FORM}; each connection to a database in memory would see one of its own")
            return parsed.set(drivername="sqlite+aiosqlite")
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+asyncpg")
        case other:
            raise ValueError(f"{FORM}, not like {other}://")


def postgresql_target(url: URL) -> PostgresqlTarget:
    """Translate libpq's parameters, as in the connection strings that Supabase and other hosts show.

    Raises:
        ValueError: a parameter is unknown or its value is wrong; the message shows no password.
    """
    arguments: dict[str, Any] = {}
    passed_on: dict[str, str] = {}
    pooled = url.port == _TRANSACTION_POOLER_PORT
    for name, given in url.query.items():
        value = given if isinstance(given, str) else given[-1]
        if name == "sslmode" and value not in SSL_MODES:
            raise ValueError(f"DATABASE_URL: sslmode must be one of {', '.join(SSL_MODES)}.")
        if name in _PASSED_ON:
            passed_on[name] = value
        elif name == "connect_timeout":
            if not value.isdecimal() or not int(value):
                raise ValueError("DATABASE_URL: connect_timeout must be a whole number of seconds above 0.")
            arguments["timeout"] = int(value)
        elif name == "pgbouncer":
            pooled = value.lower() == "true"
        elif name not in _IGNORED:
            known = ", ".join(sorted(_PASSED_ON | {"connect_timeout", "pgbouncer"}))
            raise ValueError(f"DATABASE_URL: the parameter {name} is unknown; the known ones are {known}.")
    if passed_on:
        arguments["dsn"] = f"postgresql:///?{urlencode(passed_on)}"
    return PostgresqlTarget(url.set(query={}), arguments, pooled)


def libpq_url(url: URL) -> URL:
    """The URL of the same PostgreSQL database for a driver that is built on libpq."""
    given = {
        name: value if isinstance(value, str) else value[-1]
        for name, value in url.query.items()
        if name in _PASSED_ON | {"connect_timeout"}
    }
    if (search_path := given.pop("search_path", None)) is not None:  # asyncpg's own; libpq takes it as an option
        escaped = re.sub(r"([\\\s])", r"\\\1", search_path)
        given["options"] = f"{given.get('options', '')} -c search_path={escaped}".lstrip()
    return url.set(drivername="postgresql+psycopg", query=given)


def conninfo(url: URL) -> str:
    """The same PostgreSQL database for libpq's own programs, without the password: anybody can read a command line."""
    named = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database, **libpq_url(url).query}
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in named.items() if value is not None)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
