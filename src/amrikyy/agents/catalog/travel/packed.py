"""A table that is made once, is read now and then, and takes a tenth of a dictionary's memory."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Any, Generic, TypeVar

import msgspec

V = TypeVar("V")
W = TypeVar("W")

REMEMBERED = 1024
"""Values that are kept as they were made; what people ask for is always the same few."""


class Packed(Mapping[str, V], Generic[V]):
    """Maps texts to values that are made of JSON values, which lie behind each other in one piece of memory.

    Args:
        entries: each key, and what its value is made of: JSON values through `pack`, for as they are they would take
            so much that some of it would stay with the process.
        make: makes the value.
    """

    def __init__(self, entries: Mapping[str, bytes], make: Callable[[str, Any], V]) -> None:
        keys = sorted(entries)
        self._keys, self._key_ends = _joined([key.encode() for key in keys])
        self._values, self._value_ends = _joined([entries[key] for key in keys])
        self._make = make
        self._remembered = lru_cache(REMEMBERED)(self._read)

    def seen_as(self, make: "Callable[[str, Any], W]") -> "Packed[W]":
        """The same table with other values, without a copy."""
        other: Packed[W] = Packed({}, make)
        other._keys, other._key_ends = self._keys, self._key_ends
        other._values, other._value_ends = self._values, self._value_ends
        return other

    def __getitem__(self, key: str) -> V:
        return self._remembered(key)

    def __iter__(self) -> Iterator[str]:
        return map(self._key, range(len(self)))

    def __len__(self) -> int:
        return len(self._key_ends) - 1

    def _key(self, place: int) -> str:
        return self._keys[self._key_ends[place] : self._key_ends[place + 1]].decode()

    def _read(self, key: str) -> V:
        place = bisect_left(range(len(self)), key, key=self._key)
        if place == len(self) or self._key(place) != key:
            raise KeyError(key)
        packed = self._values[self._value_ends[place] : self._value_ends[place + 1]]
        return self._make(key, unpack(packed))


def _joined(parts: list[bytes]) -> "tuple[bytes, array[int]]":
    return b"".join(parts), array("I", accumulate(map(len, parts), initial=0))


pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder().decode
