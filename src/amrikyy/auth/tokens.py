"""Access tokens: JSON Web Tokens that this server signs and verifies (RFC 7519, HS256)."""

import asyncio
import re
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from amrikyy.errors import Unauthenticated

if TYPE_CHECKING:
    import jwt

ISSUER = "amrikyy"
AUDIENCE = "amrikyy-api"
ALGORITHM = "HS256"

MIN_SECRET_BYTES = 32
"""HS256 needs a key at least as long as its hash, 256 bits (RFC 7518 §3.2)."""

LEEWAY_S = 5
"""How far the clocks of two replicas may differ."""

MAX_TTL_S = 86_400
"""The longest life that ACCESS_TOKEN_TTL_S can give; what claims a longer one was not issued here."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NEVER = 10**11
"""Unix seconds, some thousand years from now."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. Times are Unix seconds."""

    user_id: str
    session: str
    issued_at: float
    expires_at: float


class Tokens:
    """Issues and verifies access tokens.

    Args:
        secret: JWT_SECRET, the same on every replica.
        access_ttl_s: how long an access token lives.
        refresh_ttl_s: how long a refresh token lives; each refresh begins anew.

    Raises:
        ValueError: the secret is shorter than HS256 needs.
    """

    def __init__(self, secret: str, access_ttl_s: int = 900, refresh_ttl_s: int = 30 * 86_400) -> None:
        if len(secret.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"JWT_SECRET is shorter than {MIN_SECRET_BYTES} bytes; `amrikyy secrets` generates one.")
        self._secret = secret
        self.access_ttl_s = access_ttl_s
        self.refresh_ttl_s = refresh_ttl_s

    @cached_property
    def _jwt(self) -> "jwt.PyJWT":
        import jwt

        return jwt.PyJWT(options={"enforce_minimum_key_length": True, "require": ["exp", "iat", "sub", "sid"]})

    async def prepare(self) -> None:
        """Load the library, off the event loop: it takes 10 MB, which a server that only sees keys can do without."""
        if "_jwt" not in self.__dict__:
            await asyncio.to_thread(getattr, self, "_jwt")

    def issue(self, user_id: str, session: str, *, not_before: float = 0) -> str:
        """A token for a user's session.

        Args:
            user_id: whose.
            session: the family of its refresh tokens.
            not_before: the Unix time before which the user's tokens are invalid. Another replica wrote it, whose
                clock may be ahead of ours; the token must not be issued before it.
        """
        now = max(time.time(), not_before)
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "sid": session,
            "iat": now,
            "exp": int(now) + self.access_ttl_s,
        }
        return self._jwt.encode(payload, self._secret, ALGORITHM)

    def verify(self, token: str) -> Claims:
        """Check signature, issuer, audience and time.

        Raises:
            Unauthenticated: saying whether the token has expired or is not one of ours.
        """
        import jwt

        try:
            payload = self._jwt.decode(
                token, self._secret, algorithms=[ALGORITHM], issuer=ISSUER, audience=AUDIENCE, leeway=LEEWAY_S
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated(
                "The access token has expired. Get a new one with POST /api/auth/refresh, or log in again.",
                code="token_expired",
            ) from None
        except (jwt.InvalidTokenError, ValueError, OverflowError):  # PyJWT lets numbers that are no times through
            raise _not_ours() from None
        return _claims(payload)


def _claims(payload: dict[str, Any]) -> Claims:
    """The claims that the store is asked about: a signature says who wrote them, not that a database can take them.

    Raises:
        Unauthenticated: it is nothing that `issue` writes.
    """
    user_id, session, issued_at, expires_at = (payload[name] for name in ("sub", "sid", "iat", "exp"))
    ids = all(isinstance(each, str) and _ID.fullmatch(each) for each in (user_id, session))
    times = all(isinstance(each, int | float) and 0 < each < _NEVER for each in (issued_at, expires_at))
    if not ids or not times or not expires_at - issued_at <= MAX_TTL_S + LEEWAY_S:
        raise _not_ours()
    return Claims(user_id, session, float(issued_at), float(expires_at))


def _not_ours() -> Unauthenticated:
    return Unauthenticated(
        "The access token is not valid. Log in again with POST /api/auth/login.", code="invalid_token"
    )
