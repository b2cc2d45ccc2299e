"""Authentication: from the two headers to a principal, remembered for seconds and checked again after that."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeVar

from amrikyy.auth.generate import fingerprint
from amrikyy.auth.keys import find_env_key, looks_like_key
from amrikyy.auth.principal import Principal
from amrikyy.auth.roles import Role
from amrikyy.auth.store import ApiKey, AuthStore
from amrikyy.auth.verifier import TokenVerifier
from amrikyy.errors import Unauthenticated, Unavailable

FRESH_S = 3.0
"""How long an answer is reused: a revoked credential works at most this much longer, on every replica."""

CAPACITY = 10_000
"""Credentials remembered; the one that was used longest ago is forgotten first."""

REFUSED_CAPACITY = 1_000
"""Refusals remembered, apart from the good ones, so that a flood of bad credentials cannot push those out."""

LATELY_S = 3600.0
"""How long after a credential was found good metrics may be read with it while that cannot be checked: it is when the
database is away that they are needed."""

LATELY_CAPACITY = 100
"""Credentials remembered for that."""

CHECKED_WITHIN_S = 1.0
"""How long a check may take before it counts as impossible then; scrapers give up after some seconds."""

MAX_CREDENTIAL = 8192
"""Bytes; a longer one is not worth hashing. Supabase writes all of a user's metadata into the token."""


T = TypeVar("T")


@dataclass(slots=True)
class _Known:
    principal: Principal
    checked_at: float
    expires_at: float


@dataclass(slots=True)
class _Refused:
    checked_at: float
    message: str
    code: str


class Authenticator:
    """Finds out who asks.

    `cached` answers without waiting, except for a caller's first request in `fresh_s` seconds.

    Args:
        store: where keys are.
        verifier: finds out whose an access token is.
        env_keys: from `parse_env_keys`.
        fresh_s: how long an answer is reused, in seconds.
        capacity: how many credentials are remembered.
        monotonic: a clock in seconds, for tests.
    """

    def __init__(
        self,
        store: AuthStore,
        verifier: TokenVerifier,
        env_keys: Mapping[str, Role],
        *,
        fresh_s: float = FRESH_S,
        capacity: int = CAPACITY,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._env_keys = dict(env_keys)
        self._fresh_s = fresh_s
        self._capacity = capacity
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._lately: OrderedDict[bytes, _Known] = OrderedDict()
        self._checking: dict[bytes, asyncio.Task[Principal]] = {}
        self._touching: set[asyncio.Task[None]] = set()

    def cached(self, authorization: bytes | None, api_key: bytes | None) -> Principal | None:
        """The principal, if the credential was found good within the last seconds."""
        if (authorization is None) is (api_key is None):
            return None
        digest = _digest(authorization, api_key)
        known = self._known.get(digest)
        if known is None:
            return None
        if self._monotonic() - known.checked_at > self._fresh_s or time.time() >= known.expires_at:
            del self._known[digest]
            return None
        self._known.move_to_end(digest)
        return known.principal

    async def authenticate(
        self, authorization: bytes | None, api_key: bytes | None, *, or_lately: bool = False
    ) -> Principal:
        """Check the credential with whoever could have revoked it.

        Args:
            authorization: the header of that name.
            api_key: the header x-api-key.
            or_lately: it is enough that it was good within `LATELY_S`, if it cannot be checked now.

        Raises:
            Unauthenticated: there is no credential, or it is not good.
            Unavailable: the database, or whoever else must be asked, cannot be reached. That is never a 401.
        """
        if authorization is not None and api_key is not None:
            raise Unauthenticated(
                "Send either Authorization or x-api-key, not both: they might mean two callers.",
                code="ambiguous_credentials",
            )
        if not (authorization or api_key):
            raise Unauthenticated(
                "Send a credential: `Authorization: Bearer <token>` (from POST /api/auth/login) or `x-api-key: <key>`.",
                code="missing_credential",
            )
        if len(authorization or api_key or b"") > MAX_CREDENTIAL:
            raise Unauthenticated("The credential is too long to be one of ours.", code="invalid_credential")
        digest = _digest(authorization, api_key)
        refused = self._refused.get(digest)
        if refused is not None and self._monotonic() - refused.checked_at <= self._fresh_s:
            self._lately.pop(digest, None)
            raise Unauthenticated(refused.message, code=refused.code)
        check = self._checking.get(digest)
        if check is None:
            # Whoever sends the same credential meanwhile waits for the same answer.
            check = asyncio.get_running_loop().create_task(self._check(digest, authorization, api_key))
            self._checking[digest] = check
            check.add_done_callback(lambda done: self._checked(digest, done))
        return await (self._now_or_lately(digest, check) if or_lately else asyncio.shield(check))

    async def close(self) -> None:
        """Wait for what is still written."""
        await asyncio.gather(*self._touching, *self._checking.values(), return_exceptions=True)

    def _checked(self, digest: bytes, check: asyncio.Task[Principal]) -> None:
        self._checking.pop(digest, None)
        if not check.cancelled():
            check.exception()  # whoever waited has it; if all of them left, nobody misses it

    async def _now_or_lately(self, digest: bytes, check: asyncio.Task[Principal]) -> Principal:
        lately = self._lately.get(digest)
        if lately is not None:
            is_over = self._monotonic() - lately.checked_at > LATELY_S or time.time() >= lately.expires_at
            lately = None if is_over else lately
        try:
            async with asyncio.timeout(CHECKED_WITHIN_S if lately is not None else None):
                principal = await asyncio.shield(check)
        except Unauthenticated:
            self._lately.pop(digest, None)
            raise
        except (Unavailable, TimeoutError):
            if lately is None:
                raise
            return lately.principal
        if (known := self._known.get(digest)) is not None:
            _remember(self._lately, digest, known, LATELY_CAPACITY)
        return principal

    async def _check(self, digest: bytes, authorization: bytes | None, api_key: bytes | None) -> Principal:
        asked_at = self._monotonic()  # what happens after the question is not in the answer
        try:
            if authorization is not None:
                principal, expires_at = await self._verifier.verify(_bearer(authorization))
            else:
                principal, expires_at = await self._check_key(api_key or b"")
        except Unauthenticated as error:
            _remember(self._refused, digest, _Refused(asked_at, error.message, error.code), REFUSED_CAPACITY)
            raise
        _remember(self._known, digest, _Known(principal, asked_at, expires_at), self._capacity)
        return principal

    async def _check_key(self, key: bytes) -> tuple[Principal, float]:
        hashed = fingerprint(key)
        env_role = find_env_key(hashed, self._env_keys)
        if env_role is not None:
            return Principal(id=f"envkey:{hashed[:12]}", kind="key", role=env_role), float("inf")
        # Only what has the form of a key is worth a query: a flood of nonsense costs the database nothing.
        found = await self._store.keys.by_hash(hashed) if looks_like_key(key) else None
        now = datetime.now(UTC)
        if found is None or found.revoked_at is not None or (found.expires_at is not None and found.expires_at <= now):
            # One answer for all three: a stranger who found an old key learns nothing about it.
            raise Unauthenticated(
                "The API key is not valid: it is mistyped, expired or revoked. An administrator can create a new one.",
                code="invalid_api_key",
            )
        self._touch(found)
        expires_at = found.expires_at.timestamp() if found.expires_at else float("inf")
        return Principal(id=f"key:{found.id}", kind="key", role=found.role, name=found.name), expires_at

    def _touch(self, key: ApiKey) -> None:
        async def touch() -> None:
            with suppress(Unavailable):  # when it was last used is nice to know, and not worth a failed request
                await self._store.keys.touch(key)

        task = asyncio.get_running_loop().create_task(touch())
        self._touching.add(task)
        task.add_done_callback(self._touching.discard)


def _remember(entries: OrderedDict[bytes, T], digest: bytes, entry: T, capacity: int) -> None:
    entries[digest] = entry
    entries.move_to_end(digest)
    while len(entries) > capacity:
        entries.popitem(last=False)


def _digest(authorization: bytes | None, api_key: bytes | None) -> bytes:
    """What the credential is remembered under, so that memory holds no credential."""
    return sha256(b"a:" + authorization if authorization is not None else b"k:" + (api_key or b"")).digest()


def _bearer(authorization: bytes) -> str:
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or looks_like_key(token):
        raise Unauthenticated(
            "The Authorization header must read `Bearer <token>`. An API key goes in x-api-key.",
            code="malformed_authorization",
        )
    return str(token, "latin-1")
