"""Versions of the schema. Alembic is only imported if there is something to do: that takes 0.2 s."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from amrikyy.db.engine import Database
from amrikyy.errors import Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0010"
"""The newest revision in `migrations/versions`; a test compares the two."""

_LOCK = 0x616D7269  # "amri": the key of PostgreSQL's advisory lock, the same in every process


def head() -> str:
    """The version that this program needs."""
    return HEAD


async def current(database: Database) -> str | None:
    """The version that the database has; None before the first upgrade.

    Raises:
        Unavailable: the database cannot be reached.
    """
    async with database.connect() as connection:
        return await connection.run_sync(_version)


async def check(database: Database) -> None:
    """Make sure that the database has the version that this program needs.

    Raises:
        Unavailable: it has another one (`database_outdated`, `database_newer`), or cannot be reached.
    """
    found = await current(database)
    if found != HEAD:
        raise misfit(found)


def misfit(found: str | None) -> Unavailable:
    """What to do about a schema of another version than this program needs."""
    if found is not None and found not in _known():
        return Unavailable(
            f"The database's schema is at {found}, which this program does not know: a newer version created it. "
            "Start that version, or restore the backup from before the upgrade.",
            code="database_newer",
        )
    return Unavailable(
        f"The database's schema is at {found or 'nothing'}, and this program needs {HEAD}: "
        "run `amrikyy db upgrade`; the server also does it when it starts.",
        code="database_outdated",
    )


async def upgrade(database: Database) -> None:
    """Bring the schema up to date. Concurrent upgrades wait for each other.

    Raises:
        Unavailable: the database cannot be reached, or a newer program has upgraded it (`database_newer`).
    """
    if await current(database) == HEAD:
        return
    # The second one finds nothing left to do. A failure rolls everything back, on both databases.
    async with database.patient() as patient, patient.begin(lock=_LOCK) as connection:
        await connection.run_sync(_upgrade)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def _upgrade(connection: Connection) -> None:
    from alembic import command

    found = _version(connection)
    if found is not None and found not in _known():
        raise misfit(found)
    command.upgrade(alembic_config(connection), "head")
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:  # foreign keys are not enforced while tables are rebuilt
            raise RuntimeError(f"the migrations broke a reference of the table {broken[0]}; nothing was changed")


def _known() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(alembic_config(None)).walk_revisions()}


def alembic_config(connection: Connection | None) -> "Config":
    """Alembic's configuration, built in code so that it also works from an installed wheel."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    attributes: dict[Any, Any] = config.attributes
    attributes["connection"] = connection
    return config
