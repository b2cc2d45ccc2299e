"""Users in the database."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from amrikyy.auth.audit import Act, Actor, note
from amrikyy.auth.roles import Role
from amrikyy.db.asynchronous import AsyncConnection
from amrikyy.db.engine import Database
from amrikyy.db.tables import password_resets, refresh_tokens, users
from amrikyy.errors import Conflict

NO_PASSWORD = "!"  # noqa: S105 - the absence of one
"""Stored instead of a hash: no password verifies against it."""

_LOCK = 0x61646D69
""""admi": the advisory lock of what must leave an admin, or make the first."""

_ADMINS = select(func.count()).select_from(users).where(users.c.role.in_([Role.ADMIN.value, Role.INTERNAL.value]))


@dataclass(frozen=True, slots=True)
class User:
    """A user. Tokens that were issued before `sessions_valid_from` are invalid."""

    id: str
    email: str
    name: str | None
    role: Role
    password_hash: str
    disabled_at: datetime | None
    sessions_valid_from: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class UserChange:
    """What is to change about a user; None stays as it is."""

    role: Role | None = None
    name: str | None = None
    disabled: bool | None = None


@dataclass(frozen=True, slots=True)
class NewReset:
    """A one-time token to set a password with, by its hash, and the act of offering it."""

    token_hash: str
    expires_at: datetime
    act: Act


class UserStore:
    """Reads and writes users. Every method raises `Unavailable` when the database cannot be reached.

    Each change comes with the `act` that it is, and is recorded with it or not done.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        user_id: str,
        email: str,
        name: str | None,
        password_hash: str,
        role: Role,
        *,
        act: Act,
        reset: NewReset | None = None,
        if_no_admin: bool = False,
    ) -> User | None:
        """Add a user, and the first one-time token with it, if there is one: both or neither.

        Args:
            user_id: a new id.
            email: in lower case.
            name: for people.
            password_hash: from `Passwords.hash`.
            role: what the user is.
            act: who does it.
            reset: the token.
            if_no_admin: do nothing, and return None, when there is an admin already; of several processes that
                try at the same time, one succeeds.

        Raises:
            Conflict: there is a user with that e-mail address.
        """
        now = datetime.now(UTC)
        row = {
            "id": user_id,
            "email": email,
            "name": name,
            "password_hash": password_hash,
            "role": role.value,
            "sessions_valid_from": now,
            "created_at": now,
            "updated_at": now,
        }
        try:
            async with self._database.begin(lock=_LOCK if if_no_admin else None) as connection:
                if if_no_admin and await connection.scalar(_ADMINS):
                    return None
                user = user_of((await connection.execute(insert(users).values(row).returning(users))).one())
                await note(connection, act)
                if reset is not None:
                    await _offer_reset(connection, user_id, reset)
                return user
        except IntegrityError:
            raise Conflict(f"There is already a user with the e-mail address {email}.", code="user_exists") from None

    async def get(self, user_id: str) -> User | None:
        """The user with that id."""
        return await self._one(users.c.id == user_id)

    async def by_email(self, email: str) -> User | None:
        """The user with that e-mail address, which is in lower case."""
        return await self._one(users.c.email == email)

    async def page(self, after: str, limit: int) -> list[User]:
        """Users by e-mail address, from the first one after `after` ("" for the first page)."""
        query = select(users).where(users.c.email > after).order_by(users.c.email).limit(limit)
        async with self._database.connect() as connection:
            return [user_of(row) for row in await connection.execute(query)]

    async def count_admins(self) -> int:
        """How many may manage this server, disabled ones included."""
        async with self._database.connect() as connection:
            return await connection.scalar(_ADMINS) or 0

    async def change(self, user_id: str, change: UserChange, *, by: Actor) -> User | None:
        """Make all the changes or none, and record each that makes a difference; None when there is no such user.

        Raises:
            Forbidden: the user's role is higher than `by`'s own.
            Conflict: nobody would be left to manage the server.
        """
        now = datetime.now(UTC)
        values: dict[str, Any] = {}
        acts: list[Act] = []
        async with self._database.begin(lock=_LOCK) as connection:
            user = await lock_user(connection, user_id)
            if user is None:
                return None
            by.check_rank(user.role)
            if change.role is not None and change.role is not user.role:
                if not Role.ADMIN.at_most(change.role):
                    await _keep_an_admin(connection, user_id)
                if not change.role.at_most(user.role):
                    await _void_resets(connection, user_id)  # whoever has one may not be allowed to offer one now
                values["role"] = change.role.value
                acts.append(Act(by, "user.set_role", user_id, {"from": user.role.value, "to": change.role.value}))
            if change.name is not None and change.name != user.name:
                values["name"] = change.name
                acts.append(Act(by, "user.set_name", user_id))
            if change.disabled is True and user.disabled_at is None:
                await _keep_an_admin(connection, user_id)
                values |= {"disabled_at": now, "sessions_valid_from": now}
                await _end_sessions(connection, user_id, now)
                await _void_resets(connection, user_id)
                acts.append(Act(by, "user.disable", user_id))
            if change.disabled is False and user.disabled_at is not None:
                values["disabled_at"] = None
                acts.append(Act(by, "user.enable", user_id))
            for act in acts:
                await note(connection, act)
            return await _change(connection, user_id, **values) if acts else user

    async def set_password(
        self, user_id: str, password_hash: str, *, act: Act, instead_of: str | None = None
    ) -> User | None:
        """Set the password's hash, and end all sessions and resets.

        Args:
            user_id: whose.
            password_hash: from `Passwords.hash`.
            act: who does it.
            instead_of: the hash that was verified; without it the password is set whatever it was.

        Returns:
            the user; None when there is no such user, or the password was changed after `instead_of` was read.

        Raises:
            Forbidden: the user's role is higher than the actor's own.
        """
        async with self._database.begin() as connection:
            user = await lock_user(connection, user_id)
            if user is None or instead_of not in (None, user.password_hash):
                return None
            act.actor.check_rank(user.role)
            return await _set_password(connection, user_id, password_hash, act)

    async def offer_reset(self, user_id: str, reset: NewReset) -> None:
        """Let whoever has the token set the password, once; tokens offered before are void.

        Raises:
            Forbidden: the user's role is higher than the actor's own.
        """
        async with self._database.begin() as connection:
            user = await lock_user(connection, user_id)
            if user is not None:
                reset.act.actor.check_rank(user.role)
            await _void_resets(connection, user_id)
            await _offer_reset(connection, user_id, reset)

    async def by_reset(self, token_hash: str) -> User | None:
        """Whose password the token may set; None when it is unknown, used, void or expired, or the user disabled."""
        query = select(users).join(password_resets, password_resets.c.user_id == users.c.id)
        good = (password_resets.c.token_hash == token_hash) & (password_resets.c.expires_at > datetime.now(UTC))
        async with self._database.connect() as connection:
            row = (await connection.execute(query.where(good, users.c.disabled_at.is_(None)))).one_or_none()
        return user_of(row) if row is not None else None

    async def redeem_reset(self, user_id: str, token_hash: str, password_hash: str, *, act: Act) -> bool:
        """Set the password, if the token is still good. Of two who try at once, one succeeds."""
        mine = (password_resets.c.token_hash == token_hash) & (password_resets.c.expires_at > datetime.now(UTC))
        async with self._database.begin() as connection:
            user = await lock_user(connection, user_id)
            if user is None or user.disabled_at is not None:
                return False
            if not (await connection.execute(delete(password_resets).where(mine))).rowcount:
                return False
            await _set_password(connection, user_id, password_hash, act)
            return True

    async def delete_expired_resets(self) -> int:
        """Delete tokens past their time. There is one for a user at most. Returns how many."""
        async with self._database.begin() as connection:
            expired = delete(password_resets).where(password_resets.c.expires_at < datetime.now(UTC))
            return (await connection.execute(expired)).rowcount

    async def replace_hash(self, user_id: str, old: str, new: str) -> None:
        """Store another hash of the same password, unless the password was changed meanwhile; sessions go on."""
        mine = (users.c.id == user_id) & (users.c.password_hash == old)
        async with self._database.begin() as connection:
            await connection.execute(update(users).where(mine).values(password_hash=new))

    async def _one(self, condition: ColumnElement[bool]) -> User | None:
        async with self._database.connect() as connection:
            row = (await connection.execute(select(users).where(condition))).one_or_none()
        return user_of(row) if row is not None else None


async def lock_user(connection: AsyncConnection, user_id: str) -> User | None:
    """Read the user and keep its sessions from changing until the transaction ends.

    Everything that changes sessions begins with this lock or with a change of the row itself, in this order, so that
    a login or a refresh cannot slip past a change of password, and none of them can deadlock. SQLite, which has one
    writer at a time, needs no lock.
    """
    query = select(users).where(users.c.id == user_id).with_for_update(key_share=True)
    row = (await connection.execute(query)).one_or_none()
    return user_of(row) if row is not None else None


def user_of(row: Row[Any]) -> User:
    """A row of the table as a `User`."""
    return User(
        id=row.id,
        email=row.email,
        name=row.name,
        role=Role(row.role),
        password_hash=row.password_hash,
        disabled_at=row.disabled_at,
        sessions_valid_from=row.sessions_valid_from,
        created_at=row.created_at,
    )


async def _change(connection: AsyncConnection, user_id: str, **values: Any) -> User | None:
    change = update(users).where(users.c.id == user_id).values(updated_at=datetime.now(UTC), **values)
    row = (await connection.execute(change.returning(users))).one_or_none()
    return user_of(row) if row is not None else None


async def _set_password(connection: AsyncConnection, user_id: str, password_hash: str, act: Act) -> User | None:
    now = datetime.now(UTC)
    user = await _change(connection, user_id, password_hash=password_hash, sessions_valid_from=now)
    await _end_sessions(connection, user_id, now)
    await _void_resets(connection, user_id)
    await note(connection, act)
    return user


async def _offer_reset(connection: AsyncConnection, user_id: str, reset: NewReset) -> None:
    row = {"token_hash": reset.token_hash, "user_id": user_id, "expires_at": reset.expires_at}
    await connection.execute(insert(password_resets).values(row))
    await note(connection, reset.act)


async def _void_resets(connection: AsyncConnection, user_id: str) -> None:
    await connection.execute(delete(password_resets).where(password_resets.c.user_id == user_id))


async def _end_sessions(connection: AsyncConnection, user_id: str, now: datetime) -> None:
    mine = (refresh_tokens.c.user_id == user_id) & refresh_tokens.c.revoked_at.is_(None)
    await connection.execute(update(refresh_tokens).where(mine).values(revoked_at=now))


async def _keep_an_admin(connection: AsyncConnection, user_id: str) -> None:
    # An admin who has yet to set a password cannot help anybody.
    active = _ADMINS.where(users.c.disabled_at.is_(None), users.c.password_hash != NO_PASSWORD)
    if await connection.scalar(active.where(users.c.id == user_id)) and not await connection.scalar(
        active.where(users.c.id != user_id)
    ):
        raise Conflict("This is the last admin. Make somebody else an admin first.", code="last_admin")
