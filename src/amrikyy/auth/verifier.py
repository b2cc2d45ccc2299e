"""Who owns an access token, and whether its session is still valid."""

from typing import Protocol

from amrikyy.auth.principal import Principal
from amrikyy.auth.store import AuthStore
from amrikyy.auth.tokens import Tokens
from amrikyy.errors import Unauthenticated


class TokenVerifier(Protocol):
    """Verifies access tokens."""

    async def verify(self, token: str) -> tuple[Principal, float]:
        """Who the token's owner is now, and when the token expires, as Unix seconds.

        Raises:
            Unauthenticated: the token is not good, its session is over, or its user is locked out.
            Unavailable: whoever must be asked cannot be reached.
        """


class SessionVerifier:
    """Verifies the tokens that this server issued, against its own sessions. Is a `TokenVerifier`."""

    def __init__(self, store: AuthStore, tokens: Tokens) -> None:
        self._store = store
        self._tokens = tokens

    async def verify(self, token: str) -> tuple[Principal, float]:
        """See `TokenVerifier`."""
        await self._tokens.prepare()
        claims = self._tokens.verify(token)
        user, goes_on = await self._store.sessions.get(claims.user_id, claims.session) or (None, False)
        if user is not None and user.disabled_at is not None:
            raise Unauthenticated("This account is disabled. Ask an administrator.", code="account_disabled")
        if user is None or not goes_on or claims.issued_at < user.sessions_valid_from.timestamp():
            raise Unauthenticated("This session is over. Log in again with POST /api/auth/login.", code="session_over")
        principal = Principal(
            id=f"user:{user.id}",
            kind="user",
            role=user.role,
            name=user.name,
            email=user.email,
            user_id=user.id,
            session=claims.session,
        )
        return principal, claims.expires_at
