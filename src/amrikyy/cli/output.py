"""What the commands share: how they stop, and how they open the database."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from amrikyy.auth import Directory
    from amrikyy.db import Database
    from amrikyy.settings import Settings


class Failure(Exception):
    """A command cannot do what it was asked to do. The message says why, and what to do."""


def fail(message: str) -> NoReturn:
    """End the command, with 1 and a message."""
    raise Failure(message)


@contextmanager
def stop_on_errors() -> Iterator[None]:
    """Say in plain lines what is wrong and exit with 1; only an unexpected error gets a traceback."""
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
    except Exception as error:
        from amrikyy.settings import ConfigurationError

        lines = _reasons(error)
        if not lines:
            raise
        if isinstance(error, ConfigurationError):
            lines = ["The configuration is wrong:", *(f"  {line}" for line in lines)]
        typer.secho("\n".join(lines), fg=typer.colors.RED, err=True)
        sys.exit(1)


@contextmanager
def stop_on_errors_in_log() -> Iterator[None]:
    """For a server: in production, say it in its log, in JSON, since that is what is read there."""
    try:
        yield
    except Exception as error:
        from amrikyy.settings import in_production

        if not in_production():
            raise
        import structlog

        from amrikyy.telemetry.logs import configure_logs

        configure_logs(json=True)
        log = structlog.get_logger(__name__)
        reasons = _reasons(error)
        for reason in reasons:
            log.error("server_not_started", reason=reason)
        if not reasons:
            log.critical("server_failed", exc_info=error)
        sys.exit(1)


def _reasons(error: Exception) -> list[str]:
    """What somebody can do something about, a line for each; none if it is an error that nobody foresaw."""
    from amrikyy.errors import AmrikyyError
    from amrikyy.settings import ConfigurationError

    if isinstance(error, Failure | ConfigurationError):
        return str(error).splitlines()
    if isinstance(error, AmrikyyError):
        details = [f"  {detail['field']}: {detail['message']}" for detail in error.details if "field" in detail]
        return [error.message, *details]
    return []


def show_note(note: str) -> None:
    """Show a person what is not wrong, but good to know."""
    typer.secho(f"Note: {note}", fg=typer.colors.YELLOW, err=True)


def load_settings(**options: Any) -> "Settings":
    """The settings: an option that is given, else the environment, else .env.

    From here on, logs go to stderr in the form that these ask for.
    """
    from amrikyy.settings import Settings
    from amrikyy.telemetry.logs import configure_logs

    settings = Settings.load(**{name: value for name, value in options.items() if value is not None})
    configure_logs(json=settings.production, level=settings.least_logged)
    return settings


@asynccontextmanager
async def open_accounts() -> "AsyncIterator[Directory]":
    """The accounts of the configured database, which is brought up to date first."""
    from amrikyy.runtime import open_accounts_of

    settings = load_settings()
    made = _missing_file(settings)
    async with open_accounts_of(settings) as accounts:
        if made is not None:
            show_note(f"there was no database at {made}; it is new.")
        yield accounts


@asynccontextmanager
async def open_existing(settings: "Settings", *, or_new: bool = False) -> "AsyncIterator[Database]":
    """The configured database. Who looks after one does not mean to make one, least of all in the wrong folder.

    Args:
        settings: where it is.
        or_new: make it if there is none.

    Raises:
        ConfigurationError: DATABASE_URL is wrong, there is no database, or it cannot be reached.
    """
    from amrikyy.db import open_database
    from amrikyy.errors import Unavailable
    from amrikyy.settings import ConfigurationError

    missing = _missing_file(settings)
    if missing is not None and not or_new:
        raise ConfigurationError(
            f"DATABASE_URL: there is no database at {missing}. Run this in the folder of the server, or with its "
            "DATABASE_URL or DATA_DIR; `amrikyy db upgrade` makes a new one."
        )
    try:
        database = open_database(settings.database)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    try:
        yield database
    except Unavailable as error:
        from amrikyy.runtime.opening import explained

        raise explained(error, database) from None
    finally:
        await database.close()


def _missing_file(settings: "Settings") -> "Path | None":
    from amrikyy.db.urls import missing_file
    from amrikyy.settings import ConfigurationError

    try:
        return missing_file(settings.database)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
