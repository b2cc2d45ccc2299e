"""Passwords: Argon2id, off the event loop, a few at a time."""

import asyncio
import base64
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pwdlib.hashers.argon2 import Argon2Hasher

from amrikyy.errors import Unavailable, ValidationFailed

T = TypeVar("T")

MIN_LENGTH = 10
MAX_BYTES = 256

CONCURRENCY = 2
"""Hashes computed at the same time; each takes 64 MiB and some 140 ms of a core."""

MAX_WAITING = 100
"""Hashes waiting or being computed: some seven seconds of work. Whoever comes then is refused, and not kept waiting."""


class Passwords:
    """Hashes and verifies passwords. The parameters are the argon2 library's (RFC 9106's second recommendation)."""

    def __init__(self, *, time_cost: int = 3, memory_cost_kib: int = 65_536, parallelism: int = 4) -> None:
        self._hasher = Argon2Hasher(time_cost=time_cost, memory_cost=memory_cost_kib, parallelism=parallelism)
        self._threads = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="argon2")
        self._waiting = 0
        # A hash that no password has, so that nothing need be computed to have one.
        salt, tag = (base64.b64encode(secrets.token_bytes(n)).decode().rstrip("=") for n in (16, 32))
        self._decoy = f"$argon2id$v=19$m={memory_cost_kib},t={time_cost},p={parallelism}${salt}${tag}"

    async def hash(self, password: str) -> str:
        """The hash to store.

        Raises:
            Unavailable: too many wait for theirs already.
        """
        return await self._in_thread(self._hasher.hash, _normal(password))

    async def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password is the one of the hash.

        Without a stored hash (there is no such account) it takes as long, and the answer is no.

        Raises:
            Unavailable: too many wait already.
        """
        known = stored is not None and self._hasher.identify(stored)
        right = await self._verify(_normal(password), stored if known and stored else self._decoy)
        return right and known

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _verify(self, password: bytes, stored: str) -> bool:
        return await self._in_thread(self._hasher.verify, password, stored)

    async def _in_thread(self, function: Callable[..., T], *arguments: str | bytes) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable(
                "Too many logins at the same time. Try again shortly.", code="login_busy", retry_after_s=5
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._waiting -= 1


def check_password(password: str, field: str = "password") -> None:
    """Refuse what is too short or too long.

    Raises:
        ValidationFailed: naming the field.
    """
    message = None
    if len(password) < MIN_LENGTH:
        message = f"A password must have at least {MIN_LENGTH} characters"
    elif len(_normal(password)) > MAX_BYTES:
        message = f"A password must have at most {MAX_BYTES} bytes"
    if message is not None:
        raise ValidationFailed(f"{message}.", details=[{"field": field, "message": message, "type": "password_length"}])


def _normal(password: str) -> bytes:
    """The same bytes whichever way a keyboard composes its letters (RFC 8265 §4.2 asks for NFC)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
