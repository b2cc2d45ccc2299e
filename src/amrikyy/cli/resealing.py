"""What `amrikyy db reseal` does, and how it reports that."""

from collections.abc import Iterable

import typer

from amrikyy.cli.output import open_existing
from amrikyy.db import Database, encryption_keys, migrate
from amrikyy.db.reseal import Resealed, reseal
from amrikyy.db.sealed import tables
from amrikyy.sealing import Sealer
from amrikyy.settings import Settings


async def reseal_all(settings: Settings) -> int:
    """Write everything anew that is not encrypted with the present key, and say how far that came.

    Returns:
        how many rows are left.

    Raises:
        ConfigurationError: a key is missing.
        Unavailable: the database cannot be reached, or its schema is another one.
    """
    sealer = settings.sealer()
    async with open_existing(settings) as database:
        await migrate.check(database)
        await encryption_keys.note(database, sealer)
        former = await encryption_keys.noted(database) - {sealer.key_id}
        done = await reseal(database, sealer, tables(), _tell)
        return await _conclude(database, sealer, former, done)


def _tell(progress: Resealed) -> None:
    typer.echo(f"{progress.table}: {progress.done} of {progress.total} rows")


async def _conclude(database: Database, sealer: Sealer, former: Iterable[str], done: list[Resealed]) -> int:
    written = sum(each.done for each in done)
    remaining = sum(each.remaining for each in done)
    how = "in the clear" if sealer.key_id is None else f"with the key {sealer.key_id}"
    typer.echo(f"{_rows(written, 'was', 'were')} written {how}; {remaining} remain.")
    for each in done:
        if each.unreadable:
            typer.echo(
                f"{each.table}: {_rows(each.unreadable)} cannot be read, for example {each.example}. The log says why: "
                "a key that is missing belongs in ENCRYPTION_KEY_FALLBACKS; what was moved or damaged is lost.",
                err=True,
            )
    if remaining > sum(each.unreadable for each in done):
        typer.echo(
            "A server is still writing with another key: give every server the new ENCRYPTION_KEY, and run this again."
        )
    if not remaining:
        for key in former:
            await encryption_keys.forget(database, key)
            typer.echo(f"The database no longer needs the key {key}.")
    return remaining


def _rows(count: int, one: str = "", many: str = "") -> str:
    return f"{count} {'row' if count == 1 else 'rows'} {one if count == 1 else many}".rstrip()
