"""A directory of users: what the web and the command line ask of it, wherever the users live.

`Accounts` keeps them in this server's own database; `SupabaseAccounts` leaves them with Supabase Auth. API keys are
this server's own in both cases.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from amrikyy.auth import generate
from amrikyy.auth.audit import OPERATOR, Act, Actor
from amrikyy.auth.fields import check_name, is_id
from amrikyy.auth.first_admin import FirstAdmin
from amrikyy.auth.keys import VISIBLE
from amrikyy.auth.principal import Principal
from amrikyy.auth.roles import Role
from amrikyy.auth.store import ApiKey, AuthStore, User
from amrikyy.errors import NotFound, ValidationFailed

PAGE = 200
"""Users or keys in one page at most."""


@dataclass(frozen=True, slots=True)
class Login:
    """A session's tokens. `expires_in` is the access token's lifetime in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: User


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key at the one time that it can be seen."""

    key: str
    info: ApiKey


@dataclass(frozen=True, slots=True)
class PasswordReset:
    """A one-time token to set a password with, at the one time that it can be seen."""

    token: str
    expires_at: datetime


class Directory(ABC):
    """Every method raises `Unavailable` when the database, or where the users live, cannot be reached.

    `by` is who asks, and may neither grant a role above its own nor touch a user or a key that has one. A change that
    is not in the audit log did not happen; what was denied is there, too. A user is named by id or e-mail address.
    """

    def __init__(self, store: AuthStore) -> None:
        self._store = store

    # --- Sessions ---

    @abstractmethod
    async def login(self, email: str, password: str) -> Login:
        """Begin a session. Raises Unauthenticated (`invalid_login`) without saying what is wrong."""

    @abstractmethod
    async def refresh(self, refresh_token: str) -> Login:
        """Exchange a refresh token for new tokens, once. Raises Unauthenticated (`session_over`)."""

    @abstractmethod
    async def logout(self, principal: Principal, access_token: str = "") -> None:
        """End the session that an access token belongs to. Raises Forbidden for an API key."""

    @abstractmethod
    async def change_password(self, principal: Principal, current: str, new: str, *, by: Actor | None = None) -> Login:
        """Change one's own password. All sessions end, and a new one begins with what is returned."""

    @abstractmethod
    async def redeem_reset(self, token: str, password: str, *, by: Actor | None = None) -> None:
        """Set a password with a one-time token. Raises Unauthenticated (`invalid_reset`)."""

    # --- Users ---

    @abstractmethod
    async def create_user(
        self, email: str, password: str | None, role: Role, *, name: str | None = None, by: Actor = OPERATOR
    ) -> User:
        """Create a user; without a password nobody can log in until a reset has set one."""

    async def invite_user(
        self, email: str, role: Role, *, name: str | None = None, by: Actor = OPERATOR
    ) -> tuple[User, PasswordReset]:
        """Create a user, and a token with which somebody may set the password."""
        user = await self.create_user(email, None, role, name=name, by=by)
        return user, await self.offer_reset(user.id, by=by)

    @abstractmethod
    async def user(self, who: str) -> User:
        """The user with that id or e-mail address. Raises NotFound."""

    @abstractmethod
    async def user_page(self, cursor: str | None, limit: int) -> tuple[list[User], str | None]:
        """A page of users, and the cursor of the next one; None on the last. Raises ValidationFailed for a cursor."""

    async def each_user(self) -> AsyncIterator[User]:
        """All users."""
        page, cursor = await self.user_page(None, PAGE)
        while True:
            for user in page:
                yield user
            if cursor is None:
                return
            page, cursor = await self.user_page(cursor, PAGE)

    @abstractmethod
    async def change_user(
        self,
        who: str,
        *,
        role: Role | None = None,
        name: str | None = None,
        disabled: bool | None = None,
        by: Actor = OPERATOR,
    ) -> User:
        """Change what is given, all of it or nothing; it counts within seconds, also for tokens already issued."""

    @abstractmethod
    async def reset_password(self, who: str, password: str, *, by: Actor = OPERATOR) -> None:
        """Set a password and end all sessions."""

    @abstractmethod
    async def offer_reset(self, who: str, *, by: Actor = OPERATOR) -> PasswordReset:
        """A token with which somebody may set the user's password, once. Tokens offered before are void."""

    @abstractmethod
    async def ensure_first_admin(
        self, email: str | None, password: str | None, *, development: bool
    ) -> FirstAdmin | None:
        """Make an admin if there is none, where that is this server's business; None if nobody was made."""

    @abstractmethod
    async def has_admin(self) -> bool:
        """Whether there is anybody who may manage the server, as far as this server can know."""

    async def _check_rank(self, act: Act, role: Role) -> None:
        async with self._store.audit.attempt(act):
            act.actor.check_rank(role)

    # --- API keys ---

    async def create_key(
        self, name: str, role: Role, *, by: Actor = OPERATOR, expires_at: datetime | None = None
    ) -> NewKey:
        """Make a key. Only its hash is stored.

        Raises:
            Forbidden: the role is higher than `by`'s own.
            ValidationFailed: the name is not acceptable, or the key would have expired already.
        """
        shown_name = check_name(name)
        if expires_at is not None and expires_at <= datetime.now(UTC):
            message = "A key cannot expire before it is created"
            raise ValidationFailed(f"{message}.", details=[{"field": "expiresAt", "message": message, "type": "past"}])
        key, key_id = generate.api_key(), generate.identifier()
        act = Act(by, "key.create", key_id, {"name": shown_name, "role": role.value})
        await self._check_rank(act, role)
        info = await self._store.keys.add(
            key_id, shown_name, key[:VISIBLE], generate.fingerprint(key), role, by.id, expires_at, act=act
        )
        return NewKey(key, info)

    async def keys(self, *, after: str = "", limit: int = PAGE, created_by: str | None = None) -> list[ApiKey]:
        """A page of keys, oldest first; `after` is the last id of the page before."""
        return await self._store.keys.page(after if is_id(after) else "", min(limit, PAGE), created_by=created_by)

    async def key(self, key_id: str) -> ApiKey | None:
        """The key with that id; None if there is none."""
        return await self._store.keys.get(key_id) if is_id(key_id) else None

    async def each_key(self) -> AsyncIterator[ApiKey]:
        """All keys, oldest first."""
        page = await self.keys()
        while page:
            for key in page:
                yield key
            page = await self.keys(after=page[-1].id)

    async def revoke_key(self, key_id: str, *, by: Actor = OPERATOR) -> None:
        """Revoke a key; it stops working within seconds on every replica.

        Raises:
            NotFound: there is no such key, or it is revoked already.
            Forbidden: the key's role is higher than `by`'s own.
        """
        key = await self.key(key_id)
        if key is not None:
            act = Act(by, "key.revoke", key_id, {"name": key.name, "role": key.role.value})
            await self._check_rank(act, key.role)
            if await self._store.keys.revoke(key_id, act=act):
                return
        raise NotFound("There is no such key, or it has already been revoked.", code="key_not_found")

    # --- Upkeep ---

    async def delete_expired(self) -> int:
        """Delete refresh and reset tokens past their time. Returns how many."""
        return await self._store.sessions.delete_expired() + await self._store.users.delete_expired_resets()


def wrong_cursor() -> ValidationFailed:
    """The refusal of a cursor that no page has returned."""
    message = "Not of the required form: `nextCursor` of the previous page, unchanged"
    return ValidationFailed(f"{message}.", details=[{"field": "cursor", "message": message, "type": "cursor"}])
