"""`amrikyy db`."""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from amrikyy.cli.output import fail, load_settings, open_existing

if TYPE_CHECKING:
    from amrikyy.db import Database
    from amrikyy.settings import Settings

database = typer.Typer(help="Manage the database: schema, backup, encryption.", no_args_is_help=True)


@database.command()
def upgrade() -> None:
    """Bring the schema up to date. Safe when several processes do it at once."""
    from amrikyy.db import migrate

    async def go() -> None:
        async with open_existing(load_settings(), or_new=True) as db:
            before = await migrate.current(db)
            await migrate.upgrade(db)
            after = await migrate.current(db)
        typer.echo(
            f"The schema is at {after}." if before == after else f"Upgraded from {before or 'nothing'} to {after}."
        )

    asyncio.run(go())


@database.command()
def current() -> None:
    """Show which version the schema has, and which this program needs."""
    from amrikyy.db import migrate

    async def go() -> None:
        async with open_existing(load_settings()) as db:
            found = await migrate.current(db)
        needed = migrate.head()
        typer.echo(f"schema: {found or 'none'}   needed: {needed}")
        if found != needed:
            fail(migrate.misfit(found).message)

    asyncio.run(go())


@database.command()
def backup(file: Annotated[Path, typer.Argument(help="A new file.")]) -> None:
    """Copy the database while it is in use: SQLite's by itself, PostgreSQL's with pg_dump."""
    from amrikyy.db import encryption_keys, migrate
    from amrikyy.db.backup import BackupFailed, back_up

    async def needed_keys() -> frozenset[str]:
        async with open_existing(settings) as db:
            known = await migrate.current(db) == migrate.head()
            return await encryption_keys.noted(db) if known else frozenset()

    settings = load_settings()
    keys = asyncio.run(needed_keys())
    _end_as_by_ctrl_c()
    try:
        made = back_up(settings.database, file)
    except BackupFailed as error:
        fail(str(error))
    for each in made.files:
        typer.echo(f"{each}  {each.stat().st_size / 1e6:.1f} MB")
    if keys:
        names = ", ".join(sorted(keys))
        typer.echo(f"Reading it also takes ENCRYPTION_KEY (the key {names}): keep that elsewhere.")
    if made.left_out is not None:
        fail(made.left_out)


@database.command()
def restore(file: Annotated[Path, typer.Argument(help="A backup of this database.")]) -> None:
    """Put a backup in the place of the SQLite database, which is kept under another name. Stop the server first."""
    from amrikyy.db.backup import BackupFailed
    from amrikyy.db.restore import restore

    settings = load_settings()
    _end_as_by_ctrl_c()
    try:
        restored = restore(settings.database, file)
    except BackupFailed as error:
        fail(str(error))
    typer.echo(f"{restored.path} is now as {file} has it.")
    if restored.former is not None:
        typer.echo(f"What it was is in {restored.former}: delete that when nobody needs it any more.")
    if restored.left_out is not None:
        typer.echo(restored.left_out, err=True)
    for fault in asyncio.run(_faults(settings)):
        typer.echo(fault, err=True)


@database.command()
def check() -> None:
    """Check that the database is sound, has the schema that this program needs, and fits ENCRYPTION_KEY.

    The ledger is also added up and compared with the sums that are kept of it.
    """
    found = asyncio.run(_faults(load_settings()))
    for fault in found:
        typer.echo(fault, err=True)
    if found:
        raise typer.Exit(1)
    typer.echo("The database is sound.")


def _end_as_by_ctrl_c() -> None:
    """Let SIGTERM, too, be an exception, at which what is half written is removed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


async def _faults(settings: "Settings") -> list[str]:
    from amrikyy.db import migrate
    from amrikyy.db.faults import faults
    from amrikyy.errors import Unavailable

    async with open_existing(settings) as db:
        found = await faults(db)
        try:
            if await migrate.current(db) == migrate.head():
                found += await _contradictions(db, settings)
        except Unavailable:
            if not found:  # else that is why
                raise
        return found


async def _contradictions(db: "Database", settings: "Settings") -> list[str]:
    from amrikyy.db import encryption_keys
    from amrikyy.settings import ConfigurationError
    from amrikyy.spend import Sums

    async with db.patient() as patient:
        wrong = await Sums(patient).wrong_days()
    found = [f"The sums of {day} are not those of the ledger: run `amrikyy db sum-up`." for day in wrong[:10]]
    try:
        await encryption_keys.check(db, settings.sealer())
    except ConfigurationError as error:
        found.append(str(error))
    return found


@database.command()
def reseal() -> None:
    """Re-encrypt with ENCRYPTION_KEY what is stored in the clear or under a former key.

    The server may keep running. This can be interrupted at any time and started again.
    """
    from amrikyy.cli.resealing import reseal_all

    if asyncio.run(reseal_all(load_settings())):
        raise typer.Exit(1)


@database.command("sum-up")
def sum_up() -> None:
    """Rebuild the sums of the ledger for /api/usage. The server may keep running; its answers stay correct."""
    from amrikyy.db import migrate
    from amrikyy.spend import Sums

    async def go() -> None:
        async with open_existing(load_settings()) as db:
            await migrate.check(db)
            async with db.patient() as patient:
                await Sums(patient).renew()

    asyncio.run(go())
    typer.echo("The ledger is added up.")


@database.command("forget-key")
def forget_key(
    key_id: Annotated[str, typer.Argument(help="The eight hex digits by which messages name the key.")],
) -> None:
    """Let the server start without a key that is lost. What it encrypted stays, and cannot be read."""
    from amrikyy.db import encryption_keys

    async def go() -> bool:
        async with open_existing(load_settings()) as db:
            return await encryption_keys.forget(db, key_id)

    if not asyncio.run(go()):
        fail(f"The database does not know of a key {key_id}.")
    typer.echo(f"The key {key_id} is no longer required.")
