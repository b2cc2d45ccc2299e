"""Sessions and passwords, as their users have them at Supabase Auth."""

import structlog

from amrikyy.auth.audit import SYSTEM, Act, Actor
from amrikyy.auth.directory import Directory, Login
from amrikyy.auth.fields import normal_email
from amrikyy.auth.passwords import check_password
from amrikyy.auth.principal import Principal
from amrikyy.auth.store import AuthStore
from amrikyy.auth.supabase.answers import (
    WRONG_LOGIN,
    login_refused,
    password_refused,
    session_over,
    user_of,
    wrong_login,
)
from amrikyy.auth.supabase.gotrue import GoTrue, Grant, Refused
from amrikyy.auth.supabase.tokens import SupabaseTokens
from amrikyy.errors import AmrikyyError, Forbidden, Unauthenticated, Unavailable

log = structlog.get_logger(__name__)


class SupabaseSessions(Directory):
    """The part of the directory that users ask for themselves.

    Args:
        store: where keys and the audit log are.
        gotrue: speaks with Supabase Auth.
        tokens: verifies what it issues.
    """

    def __init__(self, store: AuthStore, gotrue: GoTrue, tokens: SupabaseTokens) -> None:
        super().__init__(store)
        self._gotrue = gotrue
        self._tokens = tokens

    async def login(self, email: str, password: str) -> Login:
        """Begin a session.

        Raises:
            Unauthenticated: the same one whether there is no such account, it is disabled, or the password is wrong;
                `email_not_confirmed` only with the right password; `login_refused` if the project lets nobody log in
                like this (it asks for a CAPTCHA, or has no passwords).
        """
        address = normal_email(email)
        if address is None:
            raise wrong_login()
        try:
            return await self._login(await self._gotrue.login(address, password))
        except Refused as refusal:
            raise login_refused(refusal) from None

    async def refresh(self, refresh_token: str) -> Login:
        """Exchange a refresh token for new tokens, once, or as often as the project's reuse interval allows.

        Raises:
            Unauthenticated: it is unknown, expired, used or revoked, or its user is disabled.
        """
        try:
            return await self._login(await self._gotrue.refresh(refresh_token))
        except Refused:
            raise session_over() from None

    async def logout(self, principal: Principal, access_token: str = "") -> None:
        """End the session of an access token.

        Raises:
            Forbidden: an API key has no session.
        """
        if principal.session is None:
            raise Forbidden("An API key has no session to end; revoke the key instead.", code="no_session")
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
            if refusal.code in WRONG_LOGIN:
                raise Forbidden("The current password is wrong.", code="wrong_password") from None
            raise login_refused(refusal) from None
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
        user = user_of(grant.user)
        actor = Actor(f"user:{user.id}", user.email, user.role, where.request_id, where.address)
        await self._set_password(grant, password, Act(actor, "user.redeem_reset", user.id))
        await self._forget(grant, everywhere=True)

    async def _set_password(self, grant: Grant, password: str, act: Act) -> None:
        try:
            await self._store.audit.record(act)
            await self._gotrue.set_password(grant.access_token, password)
        except (AmrikyyError, Refused) as error:
            await self._forget(grant)
            raise password_refused(error, "newPassword") if isinstance(error, Refused) else error from None

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
                "Supabase Auth issues tokens that this server does not accept; its operator should check "
                "SUPABASE_URL, and SUPABASE_JWT_SECRET if the project signs with a shared secret.",
                code="supabase_misconfigured",
            ) from None
        return Login(grant.access_token, grant.refresh_token, grant.expires_in, user_of(grant.user))
