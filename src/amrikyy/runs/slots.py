"""Who may work at the same time, and in which order the others follow."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator

from amrikyy.errors import Unavailable

ANNOUNCE_EVERY_S = 1.0
"""Whoever waits is told its new place at most this often: with a long queue that is all the queue costs."""


class Place:
    """A slot, or a place in line for one. Leave it with `Slots.leave`, whatever happens.

    Attributes:
        priority: it goes before those without.
        has_slot: it may work.
        turn: done when it may; None if it may from the beginning.
        moved: is told the position, counted from 1, whenever it has changed.
    """

    __slots__ = ("has_slot", "moved", "priority", "shown", "turn")

    def __init__(self, *, priority: bool, has_slot: bool) -> None:
        self.priority = priority
        self.has_slot = has_slot
        self.turn: asyncio.Future[None] | None = None if has_slot else asyncio.get_running_loop().create_future()
        self.moved: Callable[[int], None] | None = None
        self.shown = 0

    def show(self, position: int) -> None:
        """The position is this one now."""
        if position != self.shown and self.moved is not None:
            self.shown = position
            self.moved(position)


class Slots:
    """A number of slots, and a bounded line before them in which callers with priority go first.

    Args:
        size: how many may work at a time.
        line: how many may wait.
    """

    def __init__(self, size: int, line: int) -> None:
        self.size = size
        self.line = line
        self.taken = 0
        self._priority: OrderedDict[Place, None] = OrderedDict()
        self._others: OrderedDict[Place, None] = OrderedDict()
        self._announcing: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._priority) + len(self._others)

    @property
    def is_full(self) -> bool:
        """Whether there is neither a slot nor a place in line."""
        return self.taken >= self.size and self.waiting >= self.line

    def check(self) -> None:
        """Make sure that there is a slot, or a place in line.

        Raises:
            Unavailable: the line is full.
        """
        if self.is_full:
            raise Unavailable(
                f"The server is full: {self.size} runs are in progress and {self.waiting} are waiting. Try again "
                "shortly, or raise MAX_CONCURRENT_STREAMS.",
                code="server_full",
                retry_after_s=5,
            )

    def enter(self, *, priority: bool) -> Place:
        """Take a slot, or the last place in line. Raises as `check` does."""
        if self.taken < self.size:
            self.taken += 1
            return Place(priority=priority, has_slot=True)
        self.check()
        place = Place(priority=priority, has_slot=False)
        self._line_of(place)[place] = None
        if priority and self._others:
            self._announce_soon()
        return place

    def last(self, place: Place) -> int:
        """The position of a place that has just been taken."""
        return len(self._priority) if place.priority else self.waiting

    def leave(self, place: Place) -> None:
        """Give the slot to the next in line, or leave the line."""
        if not place.has_slot:
            if self._line_of(place).pop(place, place) is None:
                self._announce_soon()
            return
        place.has_slot = False
        while self.waiting:
            successor = next(self._in_order())
            del self._line_of(successor)[successor]
            self._announce_soon()
            assert successor.turn is not None, "it stood in line"
            if not successor.turn.done():
                successor.has_slot = True
                successor.turn.set_result(None)
                return
        self.taken -= 1

    def _line_of(self, place: Place) -> OrderedDict[Place, None]:
        return self._priority if place.priority else self._others

    def _in_order(self) -> Iterator[Place]:
        yield from self._priority
        yield from self._others

    def _announce_soon(self) -> None:
        if self._announcing is None and self.waiting:
            self._announcing = asyncio.get_running_loop().call_later(ANNOUNCE_EVERY_S, self._announce)

    def _announce(self) -> None:
        self._announcing = None
        for number, place in enumerate(list(self._in_order()), 1):
            place.show(number)
