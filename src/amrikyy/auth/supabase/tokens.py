"""Access tokens that Supabase Auth issued: whose they are, and whether their session goes on."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt
import structlog

from amrikyy.auth.principal import Principal
from amrikyy.auth.roles import Role
from amrikyy.auth.supabase.gotrue import GoTrue, Refused, RemoteUser
from amrikyy.auth.supabase.keys import KeySet
from amrikyy.auth.tokens import LEEWAY_S
from amrikyy.errors import RateLimited, Unauthenticated, Unavailable

log = structlog.get_logger(__name__)

AUDIENCE = "authenticated"

OUTAGE_S = 60.0
"""How long a session that was good goes on being good while Supabase cannot be asked."""

DOWN_S = 3.0
"""How long Supabase is left alone about such sessions after it could not be asked."""

CAPACITY = 10_000
"""Sessions remembered for an outage; the one that was checked longest ago is forgotten first."""

_REQUIRED = ["exp", "iat", "sub", "session_id"]


@dataclass(frozen=True, slots=True)
class _Good:
    principal: Principal
    checked_at: float


class SupabaseTokens:
    """Verifies access tokens of Supabase Auth. Is a `TokenVerifier`.

    A signature says only who the token was made for. So Supabase is asked as well, with the token itself
    (`GET /user`): whether the session goes on, whether the user is banned, and what its role is now. The
    `Authenticator` in front asks once in its `fresh_s` seconds for each token; that is how long a ban, a logout or a
    demotion takes to count.

    While Supabase cannot be asked, a token that it called good less than `OUTAGE_S` seconds ago is still good, with the
    role of then, and any other is a 503, never a 401. So an outage of seconds does not become ours, and a longer one
    lets nobody in whom Supabase may have locked out meanwhile.

    The algorithm is the configuration's: HS256 if there is a shared secret and nothing else, or else that of the
    public key, and never HS256. The token's own header only names the key.

    Args:
        gotrue: asks Supabase.
        secret: SUPABASE_JWT_SECRET; None: the public keys count.
        monotonic: a clock in seconds, for tests.
    """

    def __init__(
        self, gotrue: GoTrue, secret: str | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._gotrue = gotrue
        self._secret = secret
        self._monotonic = monotonic
        self._keys = KeySet(gotrue.keys, monotonic=monotonic)
        self._jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True, "require": _REQUIRED})
        self._good: OrderedDict[bytes, _Good] = OrderedDict()
        self._down_until = float("-inf")

    async def verify(self, token: str) -> tuple[Principal, float]:
        """See `TokenVerifier`."""
        claims = await self.claims(token)
        digest = sha256(token.encode()).digest()
        return await self._principal(token, digest, claims), float(claims["exp"])

    async def claims(self, token: str) -> dict[str, Any]:
        """What the token says, if its signature, issuer, audience and time are right.

        Raises:
            Unauthenticated: they are not.
            Unavailable: there are no keys to tell by.
        """
        key, algorithm = (self._secret, "HS256") if self._secret is not None else await self._public_key(token)
        try:
            claims: dict[str, Any] = self._jwt.decode(
                token, key, algorithms=[algorithm], issuer=self._gotrue.issuer, audience=AUDIENCE, leeway=LEEWAY_S
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated(
                "The access token has expired. Get a new one with POST /api/auth/refresh, or log in again.",
                code="token_expired",
            ) from None
        except jwt.InvalidTokenError:
            raise _invalid() from None
        if not all(claims[name] and isinstance(claims[name], str) for name in ("sub", "session_id")):
            raise _invalid()
        return claims

    async def close(self) -> None:
        """Stop fetching keys."""
        await self._keys.close()

    async def _public_key(self, token: str) -> tuple[Any, str]:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError:
            raise _invalid() from None
        key = await self._keys.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise _invalid()
        return key.key, key.algorithm_name

    async def _principal(self, token: str, digest: bytes, claims: dict[str, Any]) -> Principal:
        """Who has the session now. Raises Unauthenticated when it is over."""
        asked_at = self._monotonic()
        good = self._good.get(digest)
        if good is not None and asked_at - good.checked_at > OUTAGE_S:
            del self._good[digest]
            good = None
        if good is not None and asked_at < self._down_until:
            return good.principal
        try:
            user = await self._gotrue.user(token)
            principal = _principal(user, claims)
        except (Refused, Unauthenticated) as refusal:
            self._good.pop(digest, None)
            raise _session_over() if isinstance(refusal, Refused) else refusal from None
        except (Unavailable, RateLimited) as error:
            self._down_until = self._monotonic() + DOWN_S
            if good is not None:
                log.warning("supabase_session_unchecked", reason=error.code)
                return good.principal
            if isinstance(error, Unavailable):
                raise
            raise Unavailable(error.message, code="supabase_unavailable", retry_after_s=error.retry_after_s) from None
        self._down_until = float("-inf")
        self._good[digest] = _Good(principal, asked_at)
        self._good.move_to_end(digest)
        if len(self._good) > CAPACITY:
            self._good.popitem(last=False)
        return principal


def role_of(user: RemoteUser) -> Role:
    """What an administrator made of the user. What the user wrote about itself does not count."""
    value = (user.app_metadata or {}).get("role")
    return Role(value) if isinstance(value, str) and value in set(Role) else Role.USER


def name_of(user: RemoteUser) -> str | None:
    """What the user calls itself."""
    about = user.user_metadata or {}
    names = (about.get("name"), about.get("full_name"))
    return next((name[:200] for name in names if isinstance(name, str) and name), None)


def _principal(user: RemoteUser, claims: dict[str, Any]) -> Principal:
    if user.id != claims["sub"]:
        raise _invalid()
    if user.banned:
        raise Unauthenticated("This account is disabled. Ask an administrator.", code="account_disabled")
    if user.is_anonymous:
        # Whoever has the public key can make as many of them as it likes: that is nobody in particular.
        raise Unauthenticated("Anonymous users of Supabase are not accepted. Log in.", code="anonymous_user")
    if user.has_second_factor and claims.get("aal") != "aal2":
        raise Unauthenticated(
            "This account has a second factor, which this login did not use. Log in with Supabase's own client.",
            code="second_factor_required",
        )
    return Principal(
        id=f"user:{user.id}",
        kind="user",
        role=role_of(user),
        name=name_of(user),
        email=user.email or None,
        user_id=user.id,
        session=claims["session_id"],
    )


def _invalid() -> Unauthenticated:
    return Unauthenticated(
        "The access token is not valid. Log in again with POST /api/auth/login.", code="invalid_token"
    )


def _session_over() -> Unauthenticated:
    return Unauthenticated("This session is over. Log in again with POST /api/auth/login.", code="session_over")
