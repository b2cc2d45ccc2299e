"""The keys that values in the database may be sealed with: a server that lacks one of them must not start."""

from datetime import UTC, datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from amrikyy.db.engine import Database
from amrikyy.db.tables import encryption_keys as table
from amrikyy.sealing import Sealer
from amrikyy.settings import ConfigurationError


async def check(database: Database, sealer: Sealer) -> None:
    """Make sure that this server has every key that values are sealed with.

    Raises:
        ConfigurationError: a key is missing.
        Unavailable: the database cannot be reached.
    """
    missing = await noted(database) - sealer.key_ids
    if not missing:
        return
    names = ", ".join(sorted(missing))
    if not sealer.key_ids:
        raise ConfigurationError(
            f"ENCRYPTION_KEY is not set, but the database holds values that are encrypted with the key {names}: "
            "set it to that key."
        )
    ours = ", ".join(sorted(sealer.key_ids))
    raise ConfigurationError(
        f"ENCRYPTION_KEY is not the key that the database's values are encrypted with: {names} is needed, not "
        f"{ours}. To change keys, keep the former one in ENCRYPTION_KEY_FALLBACKS until `amrikyy db reseal` is done."
    )


async def note(database: Database, sealer: Sealer) -> None:
    """Record the key that values will be sealed with, before the first one is.

    Raises:
        ConfigurationError: a key that other values are sealed with is missing.
        Unavailable: the database cannot be reached.
    """
    await check(database, sealer)
    if sealer.key_id is None or sealer.key_id in await noted(database):
        return
    try:
        async with database.begin() as connection:
            await connection.execute(insert(table).values(id=sealer.key_id, noted_at=datetime.now(UTC)))
    except IntegrityError:
        return  # another process was faster


async def noted(database: Database) -> frozenset[str]:
    """The ids of the recorded keys.

    Raises:
        Unavailable: the database cannot be reached.
    """
    async with database.connect() as connection:
        return frozenset((await connection.execute(select(table.c.id))).scalars())


async def forget(database: Database, key_id: str) -> bool:
    """Delete a key's record, because no value that matters is sealed with it any more. Returns whether there was one.

    Raises:
        Unavailable: the database cannot be reached.
    """
    async with database.begin() as connection:
        return bool((await connection.execute(delete(table).where(table.c.id == key_id))).rowcount)
