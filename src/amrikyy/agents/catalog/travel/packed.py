"""A table that is made once, is read now and then, and takes a tenth of a dictionary's memory."""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, reduce
from itertools import groupby
from operator import itemgetter
from typing import Any, Generic, TypeVar

import msgspec

V = TypeVar("V")
W = TypeVar("W")

REMEMBERED = 1024
"""Values that are kept as they were made; what people ask for is always the same few."""


class Rows:
    """What a table is made of: keys and JSON values, behind each other in one piece of memory.

    As objects they would take so much until the table is made that some of it would stay with the process.
    """

    def __init__(self) -> None:
        self._keys, self._values = _Pieces(), _Pieces()
        self._places: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))

    def add(self, key: str, value: Any) -> None:
        """Add a row."""
        self._places[key[:1]].append(len(self._keys))
        self._keys.append(key.encode())
        self._values.append(_pack(value))

    def __iter__(self) -> Iterator[tuple[bytes, bytearray]]:
        """Keys and values as bytes, by key; those of one key in the order in which they were added."""
        for initial in sorted(self._places):
            for place in sorted(self._places[initial], key=self._keys.__getitem__):
                yield bytes(self._keys[place]), self._values[place]


class Packed(Mapping[str, V], Generic[V]):
    """Maps texts to values that are made of JSON values, which lie behind each other in one piece of memory.

    Args:
        rows: each key, and what its value is made of.
        make: makes the value.
        join: makes one of two rows with the same key; without it the later one holds.
    """

    def __init__(
        self, rows: Rows, make: Callable[[str, Any], V], join: Callable[[Any, Any], Any] = lambda _, later: later
    ) -> None:
        self._keys, self._values = _Pieces(), _Pieces()
        for key, same in groupby(rows, itemgetter(0)):
            self._keys.append(key)
            self._values.append(
                reduce(lambda one, other: _pack(join(_unpack(one), _unpack(other))), map(itemgetter(1), same))
            )
        self._make = make
        self._remembered = lru_cache(REMEMBERED)(self._read)

    def seen_as(self, make: "Callable[[str, Any], W]") -> "Packed[W]":
        """The same table with other values, without a copy."""
        other: Packed[W] = Packed(Rows(), make)
        other._keys, other._values = self._keys, self._values
        return other

    def __getitem__(self, key: str) -> V:
        return self._remembered(key)

    def __iter__(self) -> Iterator[str]:
        return map(self._key, range(len(self)))

    def __len__(self) -> int:
        return len(self._keys)

    def _key(self, place: int) -> str:
        return self._keys[place].decode()

    def _read(self, key: str) -> V:
        place = bisect_left(range(len(self)), key, key=self._key)
        if place == len(self) or self._key(place) != key:
            raise KeyError(key)
        return self._make(key, _unpack(self._values[place]))


class _Pieces:
    """Bytes by number, one behind the other."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("I", [0])

    def append(self, piece: bytes | bytearray) -> None:
        self._bytes += piece
        self._ends.append(len(self._bytes))

    def __getitem__(self, place: int) -> bytearray:
        return self._bytes[self._ends[place] : self._ends[place + 1]]

    def __len__(self) -> int:
        return len(self._ends) - 1


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
