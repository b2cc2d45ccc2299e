"""`amrikyy db`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from amrikyy.cli.output import fail, load_settings

database = typer.Typer(help="Look after the database: its schema and its versions.", no_args_is_help=True)


@database.command()
def upgrade() -> None:
    """Bring the schema up to date. Safe when several processes do it at once."""
    from amrikyy.db import migrate, open_database

    async def go() -> None:
        db = open_database(load_settings().database)
        try:
            before = await migrate.current(db)
            await migrate.upgrade(db)
            after = await migrate.current(db)
        finally:
            await db.close()
        typer.echo(
            f"The schema is at {after}." if before == after else f"Upgraded from {before or 'nothing'} to {after}."
        )

    asyncio.run(go())


@database.command()
def current() -> None:
    """Show which version the schema has, and which this program needs."""
    from amrikyy.db import migrate, open_database

    async def go() -> None:
        db = open_database(load_settings().database)
        try:
            found = await migrate.current(db)
        finally:
            await db.close()
        needed = migrate.head()
        typer.echo(f"schema: {found or 'none'}   needed: {needed}")
        if found != needed:
            typer.echo("Run `amrikyy db upgrade`; the server does it at its start, too.")
            raise typer.Exit(1)

    asyncio.run(go())


@database.command()
def backup(file: Annotated[Path, typer.Argument(help="A new file.", dir_okay=False)]) -> None:
    """Copy the database while it is in use: SQLite's by itself, PostgreSQL's with pg_dump."""
    from amrikyy.db.backup import BackupFailed, back_up

    try:
        made = back_up(load_settings().database, file)
    except BackupFailed as error:
        fail(str(error))
    for each in made:
        typer.echo(f"{each}  {each.stat().st_size / 1e6:.1f} MB")


@database.command()
def check() -> None:
    """See whether the database is sound, and has the schema that this program needs."""
    from amrikyy.db import open_database
    from amrikyy.db.backup import faults

    async def go() -> list[str]:
        db = open_database(load_settings().database)
        try:
            return await faults(db)
        finally:
            await db.close()

    found = asyncio.run(go())
    for fault in found:
        typer.echo(fault, err=True)
    if found:
        raise typer.Exit(1)
    typer.echo("The database is sound.")
