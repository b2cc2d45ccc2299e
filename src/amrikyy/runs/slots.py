"""Limits how many runs work at the same time, and orders those that wait."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator

import msgspec

from amrikyy.errors import Unavailable

ANNOUNCE_EVERY_S = 1.0
"""The shortest interval between two announcements of positions, which are all that a long queue costs."""


class Place(msgspec.Struct, eq=False):
    """A slot, or a place in the queue for one. It must be given up with `Slots.leave`, whatever happens.

    Attributes:
        priority: it goes before those without priority.
        has_slot: it has a slot, and may work.
        turn: a future that is done when it gets its slot; None if it had one from the beginning.
        moved: called with the position, counted from 1, whenever that has changed.
    """

    priority: bool
    has_slot: bool
    turn: asyncio.Future[None] | None = None
    moved: Callable[[int], None] | None = None
    shown: int = 0

    def show(self, position: int) -> None:
        """Announce the present position, if it has changed."""
        if position != self.shown and self.moved is not None:
            self.shown = position
            self.moved(position)


class Slots:
    """A number of slots with a bounded queue, in which callers with priority go first.

    Args:
        size: the number of slots.
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
        """How many are waiting."""
        return len(self._priority) + len(self._others)

    @property
    def is_full(self) -> bool:
        """Whether there is neither a free slot nor a free place in the queue."""
        return self.taken >= self.size and self.waiting >= self.line

    def check(self) -> None:
        """Make sure that there is a free slot, or a free place in the queue.

        Raises:
            Unavailable: the queue is full.
        """
        if self.is_full:
            raise Unavailable(
                f"The server is full: {self.size} {'run is' if self.size == 1 else 'runs are'} in progress and "
                f"{self.waiting} waiting. Try again shortly, or raise MAX_CONCURRENT_STREAMS.",
                code="server_full",
                retry_after_s=5,
            )

    def enter(self, *, priority: bool) -> Place:
        """Take a slot, or the last place in the queue. Raises as `check` does."""
        if self.taken < self.size:
            self.taken += 1
            return Place(priority=priority, has_slot=True)
        self.check()
        place = Place(priority=priority, has_slot=False, turn=asyncio.get_running_loop().create_future())
        self._line_of(place)[place] = None
        if priority and self._others:
            self._announce_soon()
        return place

    def last(self, place: Place) -> int:
        """The position of a place that has just been taken."""
        return len(self._priority) if place.priority else self.waiting

    def leave(self, place: Place) -> None:
        """Pass the slot to the next in the queue, or leave the queue."""
        if not place.has_slot:
            if self._line_of(place).pop(place, place) is None:
                self._announce_soon()
            return
        place.has_slot = False
        while self._priority or self._others:
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
