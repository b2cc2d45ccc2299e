"""Idempotency keys: a request that is sent twice starts one run."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from amrikyy.db.engine import Database
from amrikyy.db.purge import purge
from amrikyy.db.tables import idempotency_keys as keys
from amrikyy.errors import Conflict
from amrikyy.sealing import PLAIN, Sealer

KEPT_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a key is recorded for: the run that it started, and the hash of the body that came with it."""

    run_id: str
    body_hash: str
    created_at: datetime


class IdempotencyKeys:
    """Reads and writes the keys. Every method raises `Unavailable` when the database cannot be reached.

    Args:
        database: stores them.
        sealer: hashes bodies so that they cannot be guessed from the database.
    """

    def __init__(self, database: Database, sealer: Sealer = PLAIN) -> None:
        self._database = database
        self._sealer = sealer

    async def find(self, key_hash: str) -> Claim | None:
        """The claim of a key; None if it is new or has expired."""
        alive = keys.c.created_at > datetime.now(UTC) - KEPT_FOR
        async with self._database.connect() as connection:
            row = (await connection.execute(select(keys).where(keys.c.key_hash == key_hash, alive))).one_or_none()
        return Claim(row.run_id, row.body_hash, row.created_at) if row is not None else None

    def check(self, claim: Claim, body: bytes) -> None:
        """Make sure that the key came with this body (from `framed`).

        Raises:
            Conflict: it came with a different one.
        """
        if claim.body_hash not in self._sealer.fingerprints(body):
            raise Conflict(
                "This Idempotency-Key was used before with another body. Use a new key for a new request.",
                code="idempotency_conflict",
            )

    async def claim(self, key_hash: str, body: bytes, run_id: str, *, instead_of: str | None = None) -> bool:
        """Claim the key for a run that is about to start. Of several concurrent attempts, one succeeds.

        Args:
            key_hash: `hash_of` caller, route and key.
            body: the request, from `framed`.
            run_id: the id of the run.
            instead_of: the run that held the key until now, and whose outcome is not kept.

        Returns:
            False if another request was faster.
        """
        now = datetime.now(UTC)
        row = {"body_hash": self._sealer.fingerprint(body), "run_id": run_id, "created_at": now}
        mine = keys.c.key_hash == key_hash
        replaceable = keys.c.created_at <= now - KEPT_FOR
        if instead_of is not None:
            replaceable |= keys.c.run_id == instead_of
        try:
            async with self._database.begin() as connection:
                if (await connection.execute(update(keys).where(mine, replaceable).values(row))).rowcount:
                    return True
                await connection.execute(insert(keys).values(row | {"key_hash": key_hash}))
        except IntegrityError:
            return False
        return True

    async def release(self, key_hash: str, run_id: str) -> None:
        """Forget the key, because the run did not start."""
        mine = (keys.c.key_hash == key_hash) & (keys.c.run_id == run_id)
        async with self._database.begin() as connection:
            await connection.execute(delete(keys).where(mine))

    async def purge(self) -> int:
        """Delete expired keys. Returns how many."""
        return await purge(self._database, keys, keys.c.created_at <= datetime.now(UTC) - KEPT_FOR)


def hash_of(*parts: str) -> str:
    """The SHA-256 of the framed parts, in hexadecimal."""
    return hashlib.sha256(framed(*parts)).hexdigest()


def framed(*parts: str) -> bytes:
    """The parts concatenated, each with its length in front, so that no two lists of parts give the same bytes."""
    encoded = [part.encode(errors="surrogatepass") for part in parts]
    return b"".join(len(each).to_bytes(8, "big") + each for each in encoded)
