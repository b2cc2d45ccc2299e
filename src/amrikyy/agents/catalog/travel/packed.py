"""A table that is built once, is read occasionally, and takes a tenth of a dictionary's memory."""

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
"""How many values are cached as objects; people ask for the same few again and again."""


class Rows:
    """The rows of a table to be built: keys and JSON values, contiguous in memory.

    As objects, they would take so much memory until the table is built that the process would keep some of it.
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
        """Keys and values as bytes, sorted by key; those of one key in the order in which they were added."""
        for initial in sorted(self._places):
            for place in sorted(self._places[initial], key=self._keys.__getitem__):
                yield bytes(self._keys[place]), self._values[place]


class Packed(Mapping[str, V], Generic[V]):
    """Maps texts to values that are made from JSON values, which are contiguous in memory.

    Args:
        rows: each key, and what its value is made from.
        make: makes the value.
        join: merges two rows with the same key; by default, the later one wins.
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
        """The same table with a different `make`, without a copy."""
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
    """Pieces of bytes by number, contiguous in memory."""

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
