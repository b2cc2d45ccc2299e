"""Limits counted in this process."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from amrikyy.ratelimit.decision import Charge, Decision, State, check_possible
from amrikyy.ratelimit.limit import Limit

EXACT_UP_TO = 128
"""Limits up to this count remember each request; larger ones remember slices of a 128th of their window.

A slice counts until its last request would have left the window, so a large limit may refuse up to a 128th of its
window too long, and never allows too much. See docs/decisions/0007.
"""

MAX_KEYS = 50_000
"""Counters at most; the one that was used longest ago goes first. A busy counter costs up to some 10 KB."""


class _Usage:
    """What was used of one limit: (time, amount), oldest first, and the sum."""

    __slots__ = ("entries", "used", "window_s")

    def __init__(self, window_s: float) -> None:
        self.entries: deque[list[float]] = deque()
        self.used = 0
        self.window_s = window_s

    def forget(self, now: float) -> None:
        entries = self.entries
        while entries and entries[0][0] + self.window_s <= now:
            self.used -= int(entries.popleft()[1])

    def take(self, at: float, amount: int) -> None:
        entries = self.entries
        if entries and entries[-1][0] >= at:  # the clock stood still, or the slice is the same
            entries[-1][1] += amount
        else:
            entries.append([at, amount])
        self.used += amount

    def give_back(self, at: float, amount: int) -> None:
        for entry in reversed(self.entries):
            if entry[0] <= at:
                if entry[0] == at:
                    given = min(amount, int(entry[1]))
                    entry[1] -= given
                    self.used -= given
                return

    def wait_s(self, needed: int, now: float) -> float:
        """Seconds until at least `needed` of what was used is free again."""
        for at, amount in self.entries:
            needed -= int(amount)
            if needed <= 0:
                return at + self.window_s - now
        return 0.0


class MemoryLimiter:
    """Sliding windows in memory: never more than a limit's count in any window of its length.

    Args:
        clock: in seconds; monotonic.
        max_keys: counters at most.
        divide_by: each limit is divided by it (and is never less than 1): the share of one of several processes that
            cannot count together.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, max_keys: int = MAX_KEYS, divide_by: int = 1
    ) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self.divide_by = divide_by
        self._usages: OrderedDict[tuple[str, str], _Usage] = OrderedDict()

    def __len__(self) -> int:
        return len(self._usages)

    async def decide(self, charges: Sequence[Charge]) -> Decision:
        """Take all charges, or none. See `Limiter`."""
        return self.decide_now(charges)

    async def refund(self, charges: Sequence[Charge], decision: Decision) -> None:
        """Give back what a decision took."""
        self.refund_now(charges, decision)

    def decide_now(self, charges: Sequence[Charge]) -> Decision:
        """`decide`, for whoever cannot or need not wait."""
        check_possible(charges)
        now = self._clock()
        usages = [self._usage(charge, now) for charge in charges]
        refused: Charge | None = None
        wait_s = 0.0
        for charge, usage in zip(charges, usages, strict=True):
            over = usage.used + charge.cost - self._count(charge)
            if over > 0:
                waits = usage.wait_s(over, now)
                if refused is None or waits > wait_s:
                    refused, wait_s = charge, waits
        if refused is None:
            for charge, usage in zip(charges, usages, strict=True):
                usage.take(_stamp(now, charge.limit), charge.cost)
                self._keep(charge, usage, now)
        states = tuple(self._state(charge, usage, now) for charge, usage in zip(charges, usages, strict=True))
        return Decision(states, refused, wait_s, now)

    def refund_now(self, charges: Sequence[Charge], decision: Decision) -> None:
        """`refund`, for whoever cannot or need not wait."""
        for charge in charges:
            usage = self._usages.get((charge.name, charge.key))
            if usage is not None:
                usage.give_back(_stamp(decision.taken_at, charge.limit), charge.cost)

    def _count(self, charge: Charge) -> int:
        # A charge that the whole limit allows must fit the share, too, or it could never pass.
        return max(charge.limit.count // self.divide_by, charge.cost)

    def _state(self, charge: Charge, usage: _Usage, now: float) -> State:
        reset_s = usage.entries[0][0] + usage.window_s - now if usage.entries else 0.0
        return State(charge, max(0, self._count(charge) - usage.used), reset_s)

    def _usage(self, charge: Charge, now: float) -> _Usage:
        name = (charge.name, charge.key)
        usage = self._usages.get(name)
        if usage is None:
            return _Usage(charge.limit.window_s)
        self._usages.move_to_end(name)  # also when it refuses: a caller must not be forgotten while it knocks
        usage.forget(now)
        return usage

    def _keep(self, charge: Charge, usage: _Usage, now: float) -> None:
        name = (charge.name, charge.key)
        if name not in self._usages:
            self._make_room(now)
            self._usages[name] = usage

    def _make_room(self, now: float) -> None:
        """Before a new counter: drop two that are idle, so that they never pile up, and the oldest when it is full."""
        for _ in range(2):
            if not self._usages:
                return
            name, oldest = next(iter(self._usages.items()))
            oldest.forget(now)
            if oldest.entries and len(self._usages) < self._max_keys:
                return
            del self._usages[name]


def _stamp(now: float, limit: Limit) -> float:
    """The time that a request counts from: its own, or the end of its slice."""
    if limit.count <= EXACT_UP_TO:
        return now
    slice_s = limit.window_s / EXACT_UP_TO
    return (now // slice_s + 1) * slice_s
