"""What is kept of a result, and under which key."""

import hashlib
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from amrikyy.sealing import PLAIN

OVERHEAD_BYTES = 400
"""Of one entry in memory beside its texts: key, structure, dictionary slot; measured with tracemalloc."""

PIECE_BYTES = 60
"""Of one short string object beside its characters."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A result, whole, and for a text also the pieces in which it was written.

    Attributes:
        model: who wrote it.
        result: JSON.
        pieces: of a text, in order; empty for other results.
        stored_at: Unix seconds.
        fresh_s: how long it is as good as a new one.
        stale_s: how much longer it may be served when no new one can be had.
    """

    model: str | None
    result: bytes
    pieces: tuple[str, ...]
    stored_at: float
    fresh_s: float
    stale_s: float

    @property
    def age_s(self) -> float:
        """Seconds since it was stored; never negative, whatever another machine's clock says."""
        return max(0.0, time.time() - self.stored_at)

    @property
    def is_fresh(self) -> bool:
        """Whether it may be served instead of a new one."""
        return self.age_s < self.fresh_s

    @property
    def is_dead(self) -> bool:
        """Whether it may not be served at all any more."""
        return self.age_s >= self.fresh_s + self.stale_s

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return OVERHEAD_BYTES + len(self.result) + sum(map(len, self.pieces)) + PIECE_BYTES * len(self.pieces)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Entry).decode


def key_of(
    agent: str,
    operation: str,
    version: int,
    owner: str | None,
    request: dict[str, Any],
    fingerprint: Callable[[bytes], str] = PLAIN.fingerprint,
    *,
    offline: bool = False,
) -> str:
    """The key of a result: `agent:operation:v1:<whose>:<request>`, readable up to the two hashes.

    Args:
        agent: the agent's name.
        operation: the operation's name.
        version: of the operation.
        owner: whose it is; None when anybody may have it.
        request: as validated, with its defaults, so that two ways of saying the same have one key.
        fingerprint: what stands for the request.
        offline: the offline model makes it, which is nothing to be given out once there is another.
    """
    whose = ("offline-" if offline else "") + ("shared" if owner is None else _hash(owner)[:16])
    return f"{agent}:{operation}:v{version}:{whose}:{fingerprint(_normal(request))[:40]}"


@lru_cache(maxsize=1024)
def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_normal = msgspec.json.Encoder(order="sorted").encode
