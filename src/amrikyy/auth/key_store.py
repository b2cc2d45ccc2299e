"""API keys in the database."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, insert, or_, select, update

from amrikyy.auth.audit import Act, note
from amrikyy.auth.roles import Role
from amrikyy.db.engine import Database
from amrikyy.db.tables import api_keys
from amrikyy.db.together import Together

TOUCH_TOGETHER_S = 0.1
"""How long the first of some keys waits to be noted as used, so that those of a busy moment share a transaction."""

TOUCH_EVERY = timedelta(minutes=1)
"""How precise `last_used_at` is: to write it for each request would cost more than the check itself."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without the key itself."""

    id: str
    name: str
    prefix: str
    role: Role
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class KeyStore:
    """Reads and writes API keys. Every method raises `Unavailable` when the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lookups: Together[str, ApiKey] = Together(self._by_hashes)
        self._touches: Together[str, None] = Together(self._touch_all, TOUCH_TOGETHER_S)

    async def add(
        self,
        key_id: str,
        name: str,
        prefix: str,
        key_hash: str,
        role: Role,
        created_by: str | None,
        expires_at: datetime | None,
        *,
        act: Act,
    ) -> ApiKey:
        """Add a key, of which only the hash is kept."""
        row = {
            "id": key_id,
            "name": name,
            "prefix": prefix,
            "key_hash": key_hash,
            "role": role.value,
            "created_by": created_by,
            "created_at": datetime.now(UTC),
            "expires_at": expires_at,
        }
        async with self._database.begin() as connection:
            await note(connection, act)
            return _key((await connection.execute(insert(api_keys).values(row).returning(api_keys))).one())

    async def by_hash(self, key_hash: str) -> ApiKey | None:
        """The key with that hash, revoked and expired ones too."""
        return await self._lookups.get(key_hash)

    async def get(self, key_id: str) -> ApiKey | None:
        """The key with that id."""
        async with self._database.connect() as connection:
            row = (await connection.execute(select(api_keys).where(api_keys.c.id == key_id))).one_or_none()
        return _key(row) if row is not None else None

    async def page(self, after: str, limit: int, *, created_by: str | None = None) -> list[ApiKey]:
        """Keys, oldest first, from the first one after the id `after` ("" for the first page)."""
        query = select(api_keys).where(api_keys.c.id > after).order_by(api_keys.c.id).limit(limit)
        if created_by is not None:
            query = query.where(api_keys.c.created_by == created_by)
        async with self._database.connect() as connection:
            return [_key(row) for row in await connection.execute(query)]

    async def revoke(self, key_id: str, *, act: Act) -> bool:
        """Revoke a key. Returns whether there was one that was not revoked yet."""
        change = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        async with self._database.begin() as connection:
            revoked = bool((await connection.execute(change.values(revoked_at=datetime.now(UTC)))).rowcount)
            if revoked:
                await note(connection, act)
            return revoked

    async def touch(self, key: ApiKey) -> None:
        """Note that a key was used; at most one write a minute, whatever the number of replicas."""
        if key.last_used_at is None or key.last_used_at <= datetime.now(UTC) - TOUCH_EVERY:
            await self._touches.get(key.id)

    async def _by_hashes(self, hashes: list[str]) -> dict[str, ApiKey]:
        async with self._database.connect() as connection:
            rows = await connection.execute(select(api_keys).where(api_keys.c.key_hash.in_(hashes)))
            return {row.key_hash: _key(row) for row in rows}

    async def _touch_all(self, ids: list[str]) -> dict[str, None]:
        now = datetime.now(UTC)
        last = api_keys.c.last_used_at
        due = api_keys.c.id.in_(ids) & or_(last.is_(None), last <= now - TOUCH_EVERY)
        async with self._database.begin() as connection:
            await connection.execute(update(api_keys).where(due).values(last_used_at=now))
        return {}


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        role=Role(row.role),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
