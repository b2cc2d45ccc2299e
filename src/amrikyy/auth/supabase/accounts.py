"""The directory of users that Supabase Auth keeps."""

import re
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import structlog

from amrikyy.auth.audit import OPERATOR, SYSTEM, Act, Actor
from amrikyy.auth.directory import Directory, Login, PasswordReset, wrong_cursor
from amrikyy.auth.fields import check_email, check_name, normal_email
from amrikyy.auth.first_admin import FirstAdmin
from amrikyy.auth.passwords import check_password
from amrikyy.auth.principal import Principal
from amrikyy.auth.roles import Role
from amrikyy.auth.store import AuthStore, User
from amrikyy.auth.supabase.gotrue import FOREVER, GoTrue, Grant, Refused, RemoteUser
from amrikyy.auth.supabase.tokens import SupabaseTokens, name_of, role_of
from amrikyy.auth.user_store import NO_PASSWORD
from amrikyy.errors import (
    AmrikyyError,
    Conflict,
    Forbidden,
    NotFound,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)

log = structlog.get_logger(__name__)

T = TypeVar("T")

RESET_TTL = timedelta(hours=1)
"""How long a recovery token is good unless the project says otherwise."""

MAX_LOOKED_THROUGH = 20_000
"""Users among whom another admin is looked for, the newest first; a page of 200 takes some tens of milliseconds."""

_WRONG_LOGIN = frozenset(
    {"", "invalid_credentials", "invalid_grant", "user_not_found", "user_banned", "validation_failed"}
)
_CURSOR = re.compile(r"([1-9]\d{0,8})\.([1-9]\d?|1\d\d|200)", re.ASCII)
_WEAK = frozenset({"weak_password", "same_password", "validation_failed"})


class SupabaseAccounts(Directory):
    """Users, passwords and sessions are Supabase Auth's; roles are in its `app_metadata.role`; API keys are here.

    Whatever changes somebody else needs SUPABASE_SERVICE_ROLE_KEY, and is refused without it. It is written into the
    audit log before Supabase is asked, so an act that failed there stands in the log as well. The last admin stays:
    Supabase knows of none, so its users are looked through for another one. Two who are demoted at the same moment
    are not noticed; whoever has Supabase's dashboard makes an admin there.

    Args:
        store: where keys and the audit log are.
        gotrue: speaks with Supabase Auth.
        tokens: verifies what it issues.
    """

    def __init__(self, store: AuthStore, gotrue: GoTrue, tokens: SupabaseTokens) -> None:
        super().__init__(store)
        self._gotrue = gotrue
        self._tokens = tokens

    # --- Sessions ---

    async def login(self, email: str, password: str) -> Login:
        """Begin a session.

        Raises:
            Unauthenticated: the same one whether there is no such account, it is disabled, or the password is wrong;
                `email_not_confirmed` only with the right password; `login_refused` if the project lets nobody log in
                like this (it asks for a CAPTCHA, or has no passwords).
        """
        address = normal_email(email)
        if address is None:
            raise _wrong_login()
        try:
            return await self._login(await self._gotrue.login(address, password))
        except Refused as refusal:
            raise _login_refused(refusal) from None

    async def refresh(self, refresh_token: str) -> Login:
        """Exchange a refresh token for new tokens, once, or as often as the project's reuse interval allows.

        Raises:
            Unauthenticated: it is unknown, expired, used or revoked, or its user is disabled.
        """
        try:
            return await self._login(await self._gotrue.refresh(refresh_token))
        except Refused:
            raise _session_over() from None

    async def logout(self, principal: Principal, access_token: str = "") -> None:
        """End the session of an access token.

        Raises:
            Forbidden: an API key has no session.
        """
        if principal.session is None:
            raise Forbidden("An API key has no session that could end; revoke the key instead.", code="no_session")
        try:
            await self._gotrue.logout(access_token)
        except Refused as refusal:
            log.info("supabase_session_was_over", code=refusal.code)

    async def change_password(self, principal: Principal, current: str, new: str, *, by: Actor | None = None) -> Login:
        """Change one's own password. All sessions end, and a new one begins with what is returned.

        Raises:
            Forbidden: an API key has no password, or the current password is wrong (`wrong_password`), or the account
                has a second factor, which only Supabase's own client can ask for.
            ValidationFailed: the new password is not acceptable, to this server or to Supabase.
        """
        if principal.user_id is None or principal.email is None:
            raise Forbidden("This account or key has no password.", code="no_session")
        check_password(new, "newPassword")
        try:
            grant = await self._gotrue.login(principal.email, current)
        except Refused as refusal:
            if refusal.code in _WRONG_LOGIN:
                raise Forbidden("The current password is wrong.", code="wrong_password") from None
            raise _login_refused(refusal) from None
        act = Act(by or Actor.of(principal), "user.change_password", principal.user_id)
        await self._set_password(grant, new, act)  # which ends every session but the one that just began
        return await self._login(grant)

    async def redeem_reset(self, token: str, password: str, *, by: Actor | None = None) -> None:
        """Set the password of the user whom the token was made for, and end all its sessions.

        Raises:
            ValidationFailed: the password is not acceptable; if it is so to Supabase alone, the token is used up.
            Unauthenticated: the token is unknown, used, void or expired: the same answer for all of them.
        """
        check_password(password, "newPassword")
        try:
            grant = await self._gotrue.redeem(token)
        except Refused:
            raise Unauthenticated(
                "This link is not valid: it was used, replaced, or has expired. Ask for a new one.",
                code="invalid_reset",
            ) from None
        where = by or SYSTEM
        user = _user(grant.user)
        actor = Actor(f"user:{user.id}", user.email, user.role, where.request_id, where.address)
        await self._set_password(grant, password, Act(actor, "user.redeem_reset", user.id))
        await self._forget(grant, everywhere=True)

    async def _set_password(self, grant: Grant, password: str, act: Act) -> None:
        try:
            await self._store.audit.record(act)
            await self._gotrue.set_password(grant.access_token, password)
        except (AmrikyyError, Refused) as error:
            await self._forget(grant)
            raise _password_refused(error, "newPassword") if isinstance(error, Refused) else error from None

    async def _forget(self, grant: Grant, *, everywhere: bool = False) -> None:
        """End a session that was only begun to do something in it."""
        try:
            await self._gotrue.logout(grant.access_token, everywhere=everywhere)
        except (AmrikyyError, Refused) as error:
            log.warning("supabase_session_left_open", reason=error.code)

    async def _login(self, grant: Grant) -> Login:
        try:
            await self._tokens.claims(grant.access_token)
        except Unauthenticated:
            # Better told here than as a token that this server gives out and does not take.
            log.error("supabase_token_not_accepted", issuer=self._gotrue.issuer)
            raise Unavailable(
                "Supabase Auth issues tokens that this server does not accept; whoever runs the server should check "
                "SUPABASE_URL, and SUPABASE_JWT_SECRET if the project signs with a shared secret.",
                code="supabase_misconfigured",
            ) from None
        return Login(grant.access_token, grant.refresh_token, grant.expires_in, _user(grant.user))

    # --- Users ---

    async def create_user(
        self, email: str, password: str | None, role: Role, *, name: str | None = None, by: Actor = OPERATOR
    ) -> User:
        """Create a user, whose address counts as confirmed; without a password it has one that nobody knows.

        Raises:
            ValidationFailed: the address, the name or the password is not acceptable.
            Forbidden: the role is higher than `by`'s own, or this server may not administer.
            Conflict: the address is taken.
        """
        address = check_email(email)
        attributes: dict[str, Any] = {"email": address, "email_confirm": True, "app_metadata": {"role": role.value}}
        if name:
            attributes["user_metadata"] = {"name": check_name(name)}
        if password is not None:
            check_password(password)
            attributes["password"] = password
        self._check_may_administer()
        act = Act(by, "user.create", details={"email": address, "role": role.value})
        await self._check_rank(act, role)
        await self._store.audit.record(act)
        try:
            return _user(await self._gotrue.create(attributes))
        except Refused as refusal:
            if refusal.code in ("email_exists", "user_already_exists") or (refusal.status == 422 and not refusal.code):
                raise Conflict(
                    f"There is already a user with the e-mail address {address}.", code="user_exists"
                ) from None
            raise _password_refused(refusal, "password") from None

    async def user(self, who: str) -> User:
        """The user with that id or e-mail address. Raises NotFound."""
        self._check_may_administer()
        address = normal_email(who)
        if address is not None:
            number = 1
            while found := await self._known(who, self._gotrue.page(number, 100, containing=address)):
                for user in found:
                    if (user.email or "").lower() == address:
                        return _user(user)
                number += 1
                if len(found) < 100 or number > 10:  # a longer list is that of a server which ignores the filter
                    break
        elif _is_uuid(who):
            return _user(await self._known(who, self._gotrue.get(who)))
        raise _not_found(who)

    async def user_page(self, cursor: str | None, limit: int) -> tuple[list[User], str | None]:
        """A page of users, newest first, and the cursor of the next one; None on the last.

        A cursor holds the size of the first page too, which counts for all that follow it.

        Raises:
            ValidationFailed: the cursor is none of ours.
        """
        self._check_may_administer()
        number, size = 1, limit
        if cursor is not None:
            match = _CURSOR.fullmatch(cursor)
            if match is None:
                raise wrong_cursor()
            number, size = int(match[1]), int(match[2])
        found = await self._known("on this page", self._gotrue.page(number, size))
        return [_user(user) for user in found], f"{number + 1}.{size}" if len(found) >= size else None

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

        The sessions of a disabled user rest until it is enabled. Keys that it made go on. A name the user itself may
        change again. Disabling, like a higher role, voids what `offer_reset` gave out.

        Raises:
            NotFound: there is no such user.
            Forbidden: the role, or the user's present one, is higher than `by`'s own.
            ValidationFailed: the name is not acceptable.
            Conflict: it is the last admin, as far as can be seen.
        """
        wanted: dict[str, Any] = {}
        if role is not None:
            wanted["app_metadata"] = {"role": role.value}
        if name is not None:
            wanted["user_metadata"] = {"name": check_name(name)}
        if disabled is not None:
            wanted["ban_duration"] = FOREVER if disabled else "none"
        user = await self.user(who)
        given = {"role": role, "name": name, "disabled": disabled}
        act = Act(by, "user.change", user.id, {field: value for field, value in given.items() if value is not None})
        await self._check_rank(act, user.role)
        if role is not None:
            await self._check_rank(act, role)
        if disabled or (role is not None and not Role.ADMIN.at_most(role)):
            await self._keep_an_admin(user, by)
        voids = bool(disabled) or (role is not None and not role.at_most(user.role))
        return await self._update(user, wanted, act, voids_resets=voids)

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
        await self._update(user, {"password": password}, act)

    async def offer_reset(self, who: str, *, by: Actor = OPERATOR) -> PasswordReset:
        """A token with which somebody may set the user's password, once. Tokens offered before are void.

        Raises:
            NotFound: there is no such user.
            Conflict: it has no e-mail address.
            Forbidden: the user's role is higher than `by`'s own.
        """
        user = await self.user(who)
        act = Act(by, "user.offer_reset", user.id)
        await self._check_rank(act, user.role)
        if not user.email:
            raise Conflict("This user has no e-mail address, and so no password.", code="no_password")
        await self._store.audit.record(act)
        token = await self._known(who, self._gotrue.recovery_token(user.email))
        return PasswordReset(token, datetime.now(UTC) + RESET_TTL)

    async def ensure_first_admin(
        self, email: str | None, password: str | None, *, development: bool
    ) -> FirstAdmin | None:
        """Nobody is made: the first admin is a user of the project whose `app_metadata.role` says so."""
        return None

    async def has_admin(self) -> bool:
        """Taken to be so: who is one is seen to in Supabase's dashboard."""
        return True

    async def _keep_an_admin(self, user: User, by: Actor) -> None:
        if not _is_active_admin(user):
            return
        if by.id.startswith("user:") and by.id != f"user:{user.id}" and by.role and Role.ADMIN.at_most(by.role):
            return  # there is whoever asks
        looked_through = 0
        async for other in self.each_user():
            if other.id != user.id and _is_active_admin(other):
                return
            looked_through += 1
            if looked_through >= MAX_LOOKED_THROUGH:
                raise Conflict(
                    f"Among the newest {looked_through} users there is no other admin. If there is one, let it do "
                    "this, or do it in Supabase's dashboard.",
                    code="last_admin",
                )
        raise Conflict("This is the last admin; make another one first.", code="last_admin")

    async def _update(self, user: User, attributes: dict[str, Any], act: Act, *, voids_resets: bool = False) -> User:
        await self._store.audit.record(act)
        if voids_resets and user.email:
            await self._known(user.id, self._gotrue.recovery_token(user.email))  # the newest, which nobody sees, counts
        return _user(await self._known(user.id, self._gotrue.update(user.id, attributes)))

    async def _known(self, who: str, asking: Awaitable[T]) -> T:
        try:
            return await asking
        except Refused as refusal:
            if refusal.status == 404:
                raise _not_found(who) from None
            raise _password_refused(refusal, "password") from None

    def _check_may_administer(self) -> None:
        if not self._gotrue.administers:
            raise Forbidden(
                "The users are Supabase Auth's, and this server may not administer them: it has no "
                "SUPABASE_SERVICE_ROLE_KEY.",
                code="users_elsewhere",
            )


def _user(remote: RemoteUser) -> User:
    changed_at = remote.updated_at or remote.created_at
    return User(
        id=remote.id,
        email=remote.email or "",
        name=name_of(remote),
        role=role_of(remote),
        password_hash=NO_PASSWORD,
        disabled_at=changed_at if remote.banned else None,  # Supabase says until when, not since when
        sessions_valid_from=remote.created_at,
        created_at=remote.created_at,
    )


def _is_active_admin(user: User) -> bool:
    return Role.ADMIN.at_most(user.role) and user.disabled_at is None


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _login_refused(refusal: Refused) -> AmrikyyError:
    if refusal.code in _WRONG_LOGIN:
        return _wrong_login()
    if refusal.code == "email_not_confirmed":
        return Unauthenticated(
            "The e-mail address is not confirmed yet. Follow the link that was sent to it.", code="email_not_confirmed"
        )
    log.warning("supabase_login_refused", code=refusal.code)
    return Unauthenticated(
        f"Supabase Auth does not allow this login ({refusal.code[:60]}); log in with its own client.",
        code="login_refused",
    )


def _password_refused(refusal: Refused, field: str) -> AmrikyyError:
    """What a refusal to store something means, most likely that of a password."""
    if refusal.code in _WEAK:
        message = refusal.message or "Supabase does not accept it"
        return ValidationFailed(
            f"Supabase Auth does not accept this: {message}",
            details=[{"field": field, "message": message, "type": refusal.code}],
        )
    log.warning("supabase_change_refused", code=refusal.code, status=refusal.status)
    return Forbidden(f"Supabase Auth does not allow this ({refusal.code[:60]}).", code="change_refused")


def _wrong_login() -> Unauthenticated:
    return Unauthenticated("The e-mail address or the password is wrong.", code="invalid_login")


def _session_over() -> Unauthenticated:
    return Unauthenticated("This session is over. Log in again with POST /api/auth/login.", code="session_over")


def _not_found(who: str) -> NotFound:
    return NotFound(f"There is no user {who[:254]}.", code="user_not_found")
