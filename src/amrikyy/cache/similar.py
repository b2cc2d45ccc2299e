"""Finds requests that say the same in other words, among those whose results are cached."""

import re
import unicodedata
from array import array
from collections import Counter, OrderedDict
from collections.abc import Sequence
from math import sqrt
from operator import mul
from typing import TypeAlias

MAX_REQUESTS = 2000
"""The most requests that are remembered; with embeddings, each takes some six kilobytes."""

MAX_IN_BUCKET = 100
"""The most requests of a bucket, each of which is compared; with embeddings, that takes 40 microseconds."""

Meaning: TypeAlias = "Sequence[Counter[str]] | array[float]"
"""The words of each text, or one embedding of all texts together."""


def words_of(text: str) -> Counter[str]:
    """How often each word occurs, ignoring case, accents and punctuation."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each))
    return Counter(re.findall(r"[^\W_]+", plain))


def likeness(one: Meaning, other: Meaning) -> float:
    """0 to 1: the share of common words (Sørensen–Dice), in the text that differs most; of embeddings, the cosine."""
    if isinstance(one, array) or isinstance(other, array):
        assert isinstance(one, array)
        assert isinstance(other, array)
        size = sqrt(sum(map(mul, one, one)) * sum(map(mul, other, other)))
        return sum(map(mul, one, other)) / size if size and len(one) == len(other) else 0.0
    return min((_dice(a, b) for a, b in zip(one, other, strict=True)), default=0.0)


class SimilarRequests:
    """Remembers requests by what must be equal (their bucket) and what may be worded differently (their meaning).

    Args:
        threshold: how alike two requests must be, 0 to 1.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._buckets: OrderedDict[str, OrderedDict[str, Meaning]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, bucket: str, meaning: Meaning) -> list[str]:
        """The keys of requests that are alike enough, the most alike first."""
        known: OrderedDict[str, Meaning] = self._buckets.get(bucket, OrderedDict())
        alike = [(likeness(meaning, other), key) for key, other in known.items()]
        return [key for share, key in sorted(alike, reverse=True) if share >= self._threshold]

    def keep(self, bucket: str, meaning: Meaning, key: str) -> None:
        """Remember a request whose result is cached under `key`. The oldest are dropped first."""
        requests = self._buckets.setdefault(bucket, OrderedDict())
        self._buckets.move_to_end(bucket)
        self._count += key not in requests
        requests[key] = meaning
        if len(requests) > MAX_IN_BUCKET:
            requests.popitem(last=False)
            self._count -= 1
        while self._count > MAX_REQUESTS:
            _, dropped = self._buckets.popitem(last=False)
            self._count -= len(dropped)

    def forget(self, bucket: str, key: str) -> None:
        """Drop a request whose result is no longer cached."""
        requests = self._buckets.get(bucket)
        if requests is not None and requests.pop(key, None) is not None:
            self._count -= 1
            if not requests:
                del self._buckets[bucket]


def _dice(one: Counter[str], other: Counter[str]) -> float:
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0
