"""Accounts: the users and sessions that this server keeps itself."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from amrikyy.auth import first_admin, generate
from amrikyy.auth.audit import OPERATOR, SYSTEM, Act, Actor
from amrikyy.auth.directory import Directory, Login, PasswordReset, wrong_cursor
from amrikyy.auth.fields import check_email, check_name, is_id, normal_email
from amrikyy.auth.first_admin import FirstAdmin
from amrikyy.auth.passwords import Passwords, check_password
from amrikyy.auth.principal import Principal
from amrikyy.auth.roles import Role
from amrikyy.auth.store import AuthStore, User
from amrikyy.auth.tokens import Tokens
from amrikyy.auth.user_store import NO_PASSWORD, NewReset, UserChange
from amrikyy.errors import Forbidden, NotFound, Unauthenticated, Unavailable

RESET_TTL = timedelta(hours=24)
"""How long a one-time link to set a password is good."""


class Accounts(Directory):
    """The directory in this server's own database."""

    def __init__(self, store: AuthStore, tokens: Tokens, passwords: Passwords) -> None:
        super().__init__(store)
        self._tokens = tokens
        self._passwords = passwords

    # --- Sessions ---

    async def login(self, email: str, password: str) -> Login:
        """Begin a session.

        Raises:
            Unauthenticated: the same one, after the same time, whether there is no such account, it is
                disabled, or the password is wrong.
        """
        address = normal_email(email)
        user = await self._store.users.by_email(address) if address is not None else None
        right = await self._passwords.verify(password, user.password_hash if user else None)
        login = None
        if user is not None and right and user.disabled_at is None:
            login = await self._begin(user)
        if user is None or login is None:
            raise Unauthenticated("The e-mail address or the password is wrong.", code="invalid_login")
        if self._passwords.is_outdated(user.password_hash):
            with suppress(Unavailable):  # the password was right; the next login tries to renew the hash again
                new_hash = await self._passwords.hash(password)
                await self._store.users.replace_hash(user.id, user.password_hash, new_hash)
        return login

    async def refresh(self, refresh_token: str) -> Login:
        """Exchange a refresh token for new tokens. It works once; a second time ends the session.

        Raises:
            Unauthenticated: it is unknown, expired, used or revoked, or its user is disabled.
        """
        new = generate.refresh_token()
        shown = generate.fingerprint(refresh_token)
        session = await self._store.sessions.rotate(shown, generate.fingerprint(new), self._refresh_expiry())
        if session is None:
            raise Unauthenticated("This session is over. Log in again with POST /api/auth/login.", code="session_over")
        return await self._login(session.user, session.family, new)

    async def logout(self, principal: Principal, access_token: str = "") -> None:
        """End the session of an access token.

        Raises:
            Forbidden: an API key has no session.
        """
        if principal.session is None or principal.user_id is None:
            raise _no_session("to end; revoke the key instead")
        await self._store.sessions.end(principal.user_id, principal.session)

    async def change_password(self, principal: Principal, current: str, new: str, *, by: Actor | None = None) -> Login:
        """Change one's own password. All sessions end, and a new one begins with what is returned.

        Raises:
            Forbidden: an API key has no password, or the current password is wrong (`wrong_password`).
            ValidationFailed: the new password is not acceptable.
            Unauthenticated: the account is gone or disabled, or its password was set by somebody else meanwhile.
        """
        if principal.user_id is None:
            raise _no_session("and no password")
        check_password(new, "newPassword")
        user = await self._store.users.get(principal.user_id)
        if not await self._passwords.verify(current, user.password_hash if user else None) or user is None:
            raise Forbidden("The current password is wrong.", code="wrong_password")
        hashed = await self._passwords.hash(new)
        act = Act(by or Actor.of(principal), "user.change_password", principal.user_id)
        changed = await self._store.users.set_password(user.id, hashed, act=act, instead_of=user.password_hash)
        login = await self._begin(changed) if changed is not None and changed.disabled_at is None else None
        if login is None:
            raise Unauthenticated("This session is over. Log in again with POST /api/auth/login.", code="session_over")
        return login

    async def _begin(self, user: User) -> Login | None:
        token, family = generate.refresh_token(), generate.identifier()
        began = await self._store.sessions.begin(user, family, generate.fingerprint(token), self._refresh_expiry())
        return await self._login(user, family, token) if began else None

    async def _login(self, user: User, family: str, refresh_token: str) -> Login:
        await self._tokens.prepare()
        access_token = self._tokens.issue(user.id, family, not_before=user.sessions_valid_from.timestamp())
        return Login(access_token, refresh_token, self._tokens.access_ttl_s, user)

    def _refresh_expiry(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._tokens.refresh_ttl_s)

    # --- Users ---

    async def create_user(
        self, email: str, password: str | None, role: Role, *, name: str | None = None, by: Actor = OPERATOR
    ) -> User:
        """Create a user; without a password nobody can log in until a reset has set one.

        Raises:
            ValidationFailed: the address, the name or the password is not acceptable.
            Forbidden: the role is higher than `by`'s own.
            Conflict: the address is taken.
        """
        return await self._create(generate.identifier(), email, password, role, name, by)

    async def invite_user(
        self, email: str, role: Role, *, name: str | None = None, by: Actor = OPERATOR
    ) -> tuple[User, PasswordReset]:
        """Create a user, and a token with which somebody may set the password: both or neither.

        Raises: as `create_user`.
        """
        user_id, offered = generate.identifier(), _new_token()
        user = await self._create(user_id, email, None, role, name, by, _stored(offered, user_id, by))
        return user, offered

    async def _create(
        self,
        user_id: str,
        email: str,
        password: str | None,
        role: Role,
        name: str | None,
        by: Actor,
        reset: NewReset | None = None,
    ) -> User:
        address = check_email(email)
        shown_name = check_name(name) if name else None
        if password is not None:
            check_password(password)
        act = Act(by, "user.create", user_id, {"email": address, "role": role.value})
        await self._check_rank(act, role)
        hashed = NO_PASSWORD if password is None else await self._passwords.hash(password)
        user = await self._store.users.add(user_id, address, shown_name, hashed, role, act=act, reset=reset)
        assert user is not None, "only the first admin may be left unmade"
        return user

    async def user(self, who: str) -> User:
        """The user with that id or e-mail address. Raises NotFound."""
        address = normal_email(who)
        if address is not None:
            user = await self._store.users.by_email(address)
        else:
            user = await self._store.users.get(who) if is_id(who) else None
        return _found(user, who)

    async def user_page(self, cursor: str | None, limit: int) -> tuple[list[User], str | None]:
        """A page of users by e-mail address, and the cursor of the next one; None on the last.

        Raises:
            ValidationFailed: the cursor is none of ours.
        """
        after = "" if cursor is None else normal_email(cursor)
        if after is None:
            raise wrong_cursor()
        found = await self._store.users.page(after, limit + 1)
        return found[:limit], found[limit - 1].email if len(found) > limit else None

    async def change_user(
        self,
        who: str,
        *,
        role: Role | None = None,
        name: str | None = None,
        disabled: bool | None = None,
        by: Actor = OPERATOR,
    ) -> User:
        """Change what is given, all of it or nothing; it counts within seconds, also for tokens already issued.

        Disabling ends all the user's sessions. Keys that the user made go on: what runs with them is not the user.
        Disabling, like a higher role, voids what `offer_reset` gave out.

        Raises:
            NotFound: there is no such user.
            Forbidden: the role, or the user's present one, is higher than `by`'s own.
            ValidationFailed: the name is not acceptable.
            Conflict: it is the last admin.
        """
        change = UserChange(role, check_name(name) if name is not None else None, disabled)
        user = await self.user(who)
        wanted = {"role": role, "name": name, "disabled": disabled}
        details = {field: value for field, value in wanted.items() if value is not None}
        async with self._store.audit.attempt(Act(by, "user.change", user.id, details)):
            if role is not None:
                by.check_rank(role)
            return _found(await self._store.users.change(user.id, change, by=by), who)

    async def reset_password(self, who: str, password: str, *, by: Actor = OPERATOR) -> None:
        """Set a password and end all sessions.

        Raises:
            NotFound: there is no such user.
            Forbidden: the user's role is higher than `by`'s own.
            ValidationFailed: the password is not acceptable.
        """
        check_password(password)
        user = await self.user(who)
        act = Act(by, "user.set_password", user.id)
        await self._check_rank(act, user.role)
        hashed = await self._passwords.hash(password)
        async with self._store.audit.attempt(act):
            await self._store.users.set_password(user.id, hashed, act=act)

    async def offer_reset(self, who: str, *, by: Actor = OPERATOR) -> PasswordReset:
        """A token with which somebody may set the user's password, once. Tokens offered before are void.

        Raises:
            NotFound: there is no such user.
            Forbidden: the user's role is higher than `by`'s own.
        """
        user = await self.user(who)
        offered = _new_token()
        reset = _stored(offered, user.id, by)
        async with self._store.audit.attempt(reset.act):
            await self._store.users.offer_reset(user.id, reset)
        return offered

    async def redeem_reset(self, token: str, password: str, *, by: Actor | None = None) -> None:
        """Set the password of the user whom the token was made for, and end all its sessions.

        Raises:
            ValidationFailed: the password is not acceptable.
            Unauthenticated: the token is unknown, used, void or expired: the same answer for all of them.
        """
        check_password(password, "newPassword")
        hashed_token = generate.fingerprint(token)
        user = await self._store.users.by_reset(hashed_token)
        if user is not None:
            hashed = await self._passwords.hash(password)
            where = by or SYSTEM
            actor = Actor(f"user:{user.id}", user.email, user.role, where.request_id, where.address)
            act = Act(actor, "user.redeem_reset", user.id)
            if await self._store.users.redeem_reset(user.id, hashed_token, hashed, act=act):
                return
        raise Unauthenticated(
            "This link is not valid: it was used, replaced, or has expired. Ask for a new one.", code="invalid_reset"
        )

    async def ensure_first_admin(
        self, email: str | None, password: str | None, *, development: bool
    ) -> FirstAdmin | None:
        """Make an admin if there is none: see `first_admin`."""
        return await first_admin.ensure_first_admin(
            self._store, self._passwords, email, password, development=development
        )

    async def has_admin(self) -> bool:
        """Whether there is anybody who may manage the server."""
        return bool(await self._store.users.count_admins())


def _new_token() -> PasswordReset:
    return PasswordReset(generate.reset_token(), datetime.now(UTC) + RESET_TTL)


def _stored(offered: PasswordReset, user_id: str, by: Actor) -> NewReset:
    return NewReset(generate.fingerprint(offered.token), offered.expires_at, Act(by, "user.offer_reset", user_id))


def _found(user: User | None, who: str) -> User:
    if user is None:
        raise NotFound(f"There is no user {who[:254]}.", code="user_not_found")
    return user


def _no_session(what: str) -> Forbidden:
    return Forbidden(f"An API key has no session {what}.", code="no_session")
