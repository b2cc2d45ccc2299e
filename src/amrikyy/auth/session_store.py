"""Sessions in the database: families of refresh tokens, each the trace of one login."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import insert, select, update

from amrikyy.auth.user_store import User, lock_user, user_of
from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.engine import Database
from amrikyy.db.purge import purge
from amrikyy.db.tables import refresh_tokens, users
from amrikyy.db.together import Together


@dataclass(frozen=True, slots=True)
class Session:
    """A login that goes on: whose it is, and the family of its refresh tokens."""

    user: User
    family: str


class SessionStore:
    """Reads and writes refresh tokens. Every method raises `Unavailable` when the database cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lookups: Together[tuple[str, str], tuple[User, bool]] = Together(self._get_all)

    async def begin(self, user: User, family: str, token_hash: str, expires_at: datetime) -> bool:
        """Begin a session with its first refresh token.

        Returns:
            whether it began: not if the user was disabled, or its sessions were ended, since `user` was read.
            Without this a login could outlive the change of password that happened while it verified the old one.
        """
        async with self._database.begin() as connection:
            now_user = await lock_user(connection, user.id)
            if (
                now_user is None
                or now_user.disabled_at is not None
                or now_user.sessions_valid_from != user.sessions_valid_from
            ):
                return False
            await _add(connection, user.id, family, token_hash, expires_at)
            return True

    async def rotate(self, token_hash: str, new_hash: str, expires_at: datetime) -> Session | None:
        """Exchange a refresh token for a new one, in one transaction: of two that try at once, one succeeds.

        Showing one that was used before ends its family: somebody has a copy (RFC 9700 §4.14.2). There is no
        grace for a client that refreshes twice in parallel; it has to log in again.

        Returns:
            the session, or None when the token is unknown, used, revoked or expired, or its user is disabled.
        """
        mine = refresh_tokens.c.token_hash == token_hash
        async with self._database.begin() as connection:
            shown = (await connection.execute(select(refresh_tokens).where(mine))).one_or_none()
            if shown is None:
                return None
            user = await lock_user(connection, shown.user_id)
            if user is None or user.disabled_at is not None:
                return None
            now = datetime.now(UTC)
            good = mine & refresh_tokens.c.used_at.is_(None) & refresh_tokens.c.revoked_at.is_(None)
            used = await connection.execute(
                update(refresh_tokens).where(good, refresh_tokens.c.expires_at > now).values(used_at=now)
            )
            if used.rowcount:
                await _add(connection, user.id, shown.family, new_hash, expires_at)
                return Session(user, shown.family)
            if await connection.scalar(select(refresh_tokens.c.used_at).where(mine)) is not None:
                await _end(connection, shown.family)
        return None

    async def get(self, user_id: str, family: str) -> tuple[User, bool] | None:
        """The user, and whether that session of the user goes on; None when there is no such user."""
        return await self._lookups.get((user_id, family))

    async def end(self, user_id: str, family: str) -> None:
        """End a session: none of its tokens works any more."""
        async with self._database.begin() as connection:
            await lock_user(connection, user_id)
            await _end(connection, family)

    async def delete_expired(self, batch: int = 1000) -> int:
        """Delete refresh tokens past their time. Returns how many."""
        return await purge(self._database, refresh_tokens, refresh_tokens.c.expires_at < datetime.now(UTC), batch)

    async def _get_all(self, asked: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[User, bool]]:
        alive = (
            select(refresh_tokens.c.user_id, refresh_tokens.c.family.label("going_on"))
            .where(refresh_tokens.c.family.in_({family for _, family in asked}), refresh_tokens.c.revoked_at.is_(None))
            .distinct()
            .subquery()
        )
        query = (
            select(users, alive.c.going_on)
            .join_from(users, alive, alive.c.user_id == users.c.id, isouter=True)
            .where(users.c.id.in_({user_id for user_id, _ in asked}))
        )
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).all()
        owners = {row.id: user_of(row) for row in rows}
        going_on = {(row.id, row.going_on) for row in rows}
        return {pair: (owners[pair[0]], pair in going_on) for pair in asked if pair[0] in owners}


async def _add(connection: AsyncConnection, user_id: str, family: str, token_hash: str, expires_at: datetime) -> None:
    row = {
        "token_hash": token_hash,
        "family": family,
        "user_id": user_id,
        "issued_at": datetime.now(UTC),
        "expires_at": expires_at,
    }
    await connection.execute(insert(refresh_tokens).values(row))


async def _end(connection: AsyncConnection, family: str) -> None:
    alive = (refresh_tokens.c.family == family) & refresh_tokens.c.revoked_at.is_(None)
    await connection.execute(update(refresh_tokens).where(alive).values(revoked_at=datetime.now(UTC)))
