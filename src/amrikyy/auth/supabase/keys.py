"""The public keys of Supabase Auth: fetched off the way of requests, kept, and fetched again when they must be."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import structlog

from amrikyy.auth.supabase.gotrue import Refused
from amrikyy.errors import AmrikyyError, Unavailable

log = structlog.get_logger(__name__)

ALGORITHMS = frozenset({"ES256", "RS256", "EdDSA"})
"""What Supabase signs with, beside HS256. A key that is no public key for one of these is not even kept."""

KEEP_S = 600.0
"""How old keys may be before they are fetched again; Supabase's own caches keep them as long."""

PAUSE_S = 10.0
"""At most one attempt in this time, whatever is asked: a flood of tokens with invented key ids costs nothing."""

MAX_KEYS = 50

Fetch = Callable[[], Awaitable[list[dict[str, Any]]]]


class KeySet:
    """Public keys by their id.

    Args:
        fetch: asks for all keys; raises an `AmrikyyError` or `Refused` when it cannot.
        monotonic: a clock in seconds, for tests.
    """

    def __init__(self, fetch: Fetch, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._failed = False

    async def get(self, key_id: str) -> jwt.PyJWK | None:
        """The key with that id, or None when there is none.

        A known key is returned at once, even while Supabase is down; only an unknown one is waited for.

        Raises:
            Unavailable: the keys could not be fetched, so nobody knows.
        """
        key = self._keys.get(key_id)
        if key is not None:
            if self._monotonic() - self._fetched_at > KEEP_S:
                self._refresh()
            return key
        fetching = self._refresh()
        if fetching is not None:
            await asyncio.shield(fetching)
        if key_id not in self._keys and self._failed:
            raise Unavailable(
                "The keys of Supabase Auth cannot be fetched, so the token cannot be verified. Try again shortly.",
                code="supabase_unavailable",
                retry_after_s=PAUSE_S,
            )
        return self._keys.get(key_id)

    async def close(self) -> None:
        """Stop fetching."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _refresh(self) -> "asyncio.Task[None] | None":
        """The fetch that is under way, or a new one; None when the last one was begun only now."""
        if self._fetching is None and self._monotonic() - self._tried_at >= PAUSE_S:
            self._tried_at = self._monotonic()
            self._fetching = asyncio.get_running_loop().create_task(self._load(), name="supabase-keys")
        return self._fetching

    async def _load(self) -> None:
        try:
            found = await self._fetch()
        except (AmrikyyError, Refused) as error:
            self._failed = True
            log.warning("supabase_keys_not_fetched", reason=error.code, kept=len(self._keys))
        else:
            self._failed = False
            self._fetched_at = self._monotonic()
            self._keys = dict(_usable(found[:MAX_KEYS]))
        finally:
            self._fetching = None


def _usable(found: list[dict[str, Any]]) -> "list[tuple[str, jwt.PyJWK]]":
    usable: list[tuple[str, jwt.PyJWK]] = []
    for each in found:
        try:
            key = jwt.PyJWK(each)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        # The algorithm belongs to the key. A token has no say in it, so none can have a public key taken for a secret.
        if key.key_id and key.algorithm_name in ALGORITHMS and each.get("use", "sig") == "sig":
            usable.append((key.key_id, key))
    return usable
