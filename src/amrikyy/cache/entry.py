"""What is stored of a result, and under which key."""

import hashlib
import time
from collections.abc import Callable
from functools import lru_cache

import msgspec

from amrikyy.sealing import PLAIN

OVERHEAD_BYTES = 400
"""Memory of one entry besides its texts: key, structure, dictionary slot; measured with tracemalloc."""

PIECE_BYTES = 60
"""Memory of one short string object besides its characters."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A complete result, and for a text also the pieces in which it was written.

    Attributes:
        model: the model that wrote it.
        result: JSON.
        pieces: the pieces of a text, in order; empty for other results.
        stored_at: Unix seconds.
        fresh_s: seconds for which it is as good as a new one.
        stale_s: how many more seconds it may be served when no new one can be made.
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
        """Whether it may no longer be served at all."""
        return self.age_s >= self.fresh_s + self.stale_s

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes up."""
        return OVERHEAD_BYTES + len(self.result) + sum(map(len, self.pieces)) + PIECE_BYTES * len(self.pieces)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Entry).decode


def key_of(
    agent: str,
    operation: str,
    version: int,
    owner: str | None,
    request: bytes,
    fingerprint: Callable[[bytes], str] = PLAIN.fingerprint,
    *,
    offline: bool = False,
) -> str:
    """The key of a result: `agent:operation:v1:<whose>:<request>`, readable up to the two hashes.

    Args:
        agent: the agent's name.
        operation: the operation's name.
        version: the operation's version.
        owner: whose result it is; None when anybody may have it.
        request: as JSON, in a form that all ways of writing the same request have in common.
        fingerprint: hashes the request.
        offline: whether the offline model makes the result, which must not be served once there is a real model.
    """
    whose = ("offline-" if offline else "") + ("shared" if owner is None else _hash(owner)[:16])
    return f"{agent}:{operation}:v{version}:{whose}:{fingerprint(request)[:40]}"


@lru_cache(maxsize=1024)
def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
