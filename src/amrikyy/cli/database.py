"""`amrikyy db`."""

import asyncio

import typer

from amrikyy.cli.output import load_settings

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
