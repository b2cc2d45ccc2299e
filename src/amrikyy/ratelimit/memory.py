"""Limits counted in this process."""

import time
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf
from typing import Literal, NamedTuple

from amrikyy.ratelimit.decision import Charge, Decision, State, check_possible
from amrikyy.ratelimit.limit import Limit

MAX_COUNTERS = 50_000
"""The most counters; one takes 0.4 to 2.5 KB."""

BUSY_SHARE = 0.1
"""A counter is busy once more than this share of its limit, and more than one request, has been used. It is not evicted
for those that are not, so that a flood of new addresses cannot displace it."""

ROOM_FOR_NEW = 0.1
"""The share of all counters that is reserved for those that are not busy."""


NOT_KEPT, BUSY = -1.0, inf
"""Two values of `_Counter.moves_over`, beside its `busy_over`."""


class Usage(NamedTuple):
    """What one caller used of one limit: (when, how much), oldest first."""

    name: str
    key: str
    limit: Limit
    entries: tuple[tuple[float, int], ...]


class _Counter:
    """How much was used of one limit and when, oldest first, and the sum.

    Once more than `moves_over` is used, it has to be moved (`MemoryLimiter._keep`): at once if it is not kept yet, when
    it becomes busy if it is, and then no more.
    """

    __slots__ = ("amounts", "busy_over", "limit", "moves_over", "slice_s", "times", "used", "window_s")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.window_s = limit.window_s
        self.slice_s = limit.slice_s
        self.busy_over = max(1, limit.count * BUSY_SHARE)
        self.moves_over = NOT_KEPT
        self.times = array("d")  # takes a fifth of the memory of a deque of pairs, and is as fast
        self.amounts = array("q")
        self.used = 0

    def forget(self, now: float) -> None:
        times, window_s = self.times, self.window_s
        while times and times[0] + window_s <= now:
            del times[0]
            self.used -= self.amounts.pop(0)

    def take(self, now: float, amount: int) -> None:
        times = self.times
        last = times[-1] if times else -inf
        if last > now or last == self.stamp(now):  # the slice is the same, or the clock stood still
            self.amounts[-1] += amount
        else:
            times.append(self.stamp(now))
            self.amounts.append(amount)
        self.used += amount

    def give_back(self, taken_at: float, amount: int) -> None:
        at = self.stamp(taken_at)
        index = bisect_left(self.times, at)
        if index < len(self.times) and self.times[index] == at:
            given = min(amount, self.amounts[index])
            self.amounts[index] -= given
            self.used -= given
            if self.amounts[index] == 0:
                del self.times[index], self.amounts[index]

    def wait_s(self, needed: int, now: float) -> float:
        """Seconds until at least `needed` of what was used is free again."""
        for at, amount in zip(self.times, self.amounts, strict=True):
            needed -= amount
            if needed <= 0:
                return at + self.window_s - now
        return 0.0

    def stamp(self, now: float) -> float:
        """The time from which a request counts: its own, or the end of its slice."""
        slice_s = self.slice_s
        return (now // slice_s + 1) * slice_s if slice_s else now


class MemoryLimiter:
    """Sliding windows in memory: never more than a limit's count in any window of its length.

    Args:
        clock: in seconds; monotonic.
        max_counters: how many are kept; beyond that, those that are not busy are evicted first, least recently used
            first.

    Attributes:
        divide_by: each limit is divided by it, down to 1 at least: the share of one of several processes that cannot
            count together.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, max_counters: int = MAX_COUNTERS) -> None:
        self._clock = clock
        self._max_counters = max_counters
        self._busy: OrderedDict[tuple[str, str], _Counter] = OrderedDict()  # each is in the order of last use
        self._others: OrderedDict[tuple[str, str], _Counter] = OrderedDict()
        self.divide_by = 1

    def __len__(self) -> int:
        return len(self._busy) + len(self._others)

    @property
    def counts_in(self) -> Literal["memory"]:
        """Always here."""
        return "memory"

    async def decide(self, charges: Sequence[Charge]) -> Decision:
        """Take all charges, or none. See `Limiter`."""
        return self.decide_now(charges)

    def ask(self, charges: Sequence[Charge]) -> Decision:
        """Decide at once."""
        return self.decide_now(charges)

    def leaves_time(self, charges: Sequence[Charge]) -> bool:
        """Never: it does not wait."""
        return False

    async def peek(self, charges: Sequence[Charge]) -> Decision:
        """What `decide` would answer; nothing is taken."""
        return self.decide_now(charges, take=False)

    async def refund(self, decision: Decision) -> None:
        """Give back what a decision took."""
        self.refund_now(decision)

    def decide_now(self, charges: Sequence[Charge], *, take: bool = True) -> Decision:
        """`decide` (or `peek`), for callers that cannot or need not await it."""
        now, divide_by = self._clock(), self.divide_by
        asked: list[tuple[Charge, _Counter, int]] = []
        refused: Charge | None = None
        wait_s = 0.0
        for charge in charges:
            counter = self._counter(charge, now)
            count, cost = charge.limit.count, charge.cost
            if divide_by > 1:  # a charge that the whole limit allows must fit into the share, or it could never pass
                count = max(count // divide_by, min(count, cost))
            left = count - counter.used - cost
            if left < 0:
                check_possible(charges)
                waits = counter.wait_s(-left, now)
                if refused is None or waits > wait_s:
                    refused, wait_s = charge, waits
            asked.append((charge, counter, left))
        takes = take and refused is None
        states: list[State] = []
        for charge, counter, left in asked:
            if takes:
                counter.take(now, charge.cost)
                if counter.used > counter.moves_over:
                    self._keep(charge, counter, now)
            else:
                left = max(0, left + charge.cost)
            times = counter.times
            states.append(State(charge, left, times[0] + counter.window_s - now if times else 0.0))
        return Decision(tuple(states), refused, wait_s, now)

    def count(self, charge: Charge, at: float) -> None:
        """Count a charge that was taken, whether the limit allows it or not; not earlier than the last one."""
        counter = self._counter(charge, at)
        counter.take(at, charge.cost)
        if counter.used > counter.moves_over:
            self._keep(charge, counter, at)

    def usages(self) -> list[Usage]:
        """All usage that still counts."""
        now = self._clock()
        usages = []
        for counters in (self._busy, self._others):
            for (name, key), counter in counters.items():
                counter.forget(now)
                entries = tuple(zip(counter.times, counter.amounts, strict=True))
                if counter.used:
                    usages.append(Usage(name, key, counter.limit, entries))
        return usages

    def refund_now(self, decision: Decision) -> None:
        """`refund`, for callers that cannot or need not await it."""
        if decision.refused is not None:
            return
        for state in decision.states:
            charge = state.charge
            name = charge.name, charge.key
            counter = self._busy.get(name) or self._others.get(name)
            if counter is not None:
                counter.give_back(decision.taken_at, charge.cost)

    def _counter(self, charge: Charge, now: float) -> _Counter:
        name = charge.name, charge.key
        counters = self._busy
        counter = counters.get(name)
        if counter is None:
            counters = self._others
            counter = counters.get(name)
            if counter is None:
                return _Counter(charge.limit)
        counters.move_to_end(name)  # also when it refuses: a caller must not be forgotten while it keeps trying
        if counter.times and counter.times[0] + counter.window_s <= now:
            counter.forget(now)
        return counter

    def _keep(self, charge: Charge, counter: _Counter, now: float) -> None:
        """Keep a counter that is not kept yet, or has become busy."""
        name = charge.name, charge.key
        if counter.used > counter.busy_over:
            self._others.pop(name, None)
            self._busy[name] = counter
            counter.moves_over = BUSY
        else:
            self._others[name] = counter
            counter.moves_over = counter.busy_over
        self._make_room(now)

    def _make_room(self, now: float) -> None:
        """After a new counter: drop up to two idle ones of each kind, so that none pile up, and one if too many."""
        for counters in (self._busy, self._others):
            for _ in range(2):
                name, oldest = next(iter(counters.items()), (None, None))
                if name is None or oldest is None:
                    break
                oldest.forget(now)
                if oldest.times:
                    break
                del counters[name]
                oldest.moves_over = NOT_KEPT
        if len(self) > self._max_counters:
            crowded = len(self._others) > self._max_counters * ROOM_FOR_NEW
            _, oldest = (self._others if crowded else self._busy).popitem(last=False)
            oldest.moves_over = NOT_KEPT
