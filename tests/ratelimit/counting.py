"""What the tests of limits have in common: a clock, limiters on every backend, and a model that is obviously right."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence

from amrikyy.ratelimit import Charge, Limiter
from amrikyy.ratelimit.redis import SCRIPTS
from amrikyy.redis_link import RedisAddress, RedisLink


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


MakeLimiter = Callable[[Clock], Limiter]


def new_prefix() -> str:
    """For the keys of one test."""
    return f"test:{uuid.uuid4().hex}"


async def open_link(url: str, deadline_s: float = 0.05) -> RedisLink:
    """A link that is up and knows the limiter's scripts."""
    link = RedisLink(RedisAddress.parse(url), scripts=SCRIPTS, deadline_s=deadline_s)
    await link.start()
    assert link.state.is_up, link.state.reason
    return link


class Model:
    """Obviously right, and slow: every admitted charge with its time, counted anew at each decision."""

    def __init__(self) -> None:
        self.admitted: defaultdict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)

    def used(self, charge: Charge, now: float, window_s: float | None = None) -> int:
        window_s = window_s or charge.limit.window_s
        return sum(cost for at, cost in self.admitted[charge.name, charge.key] if at + window_s > now)

    def allows(self, charges: Sequence[Charge], now: float, slack: float = 0) -> bool:
        return all(
            self.used(charge, now, charge.limit.window_s * (1 + slack)) + charge.cost <= charge.limit.count
            for charge in charges
        )

    def retry_after_s(self, charges: Sequence[Charge], now: float) -> float:
        """The first moment at which they all pass is one at which something leaves its window."""
        moments = sorted(
            at + charge.limit.window_s for charge in charges for at, _ in self.admitted[charge.name, charge.key]
        )
        return next(moment - now for moment in moments if moment > now and self.allows(charges, moment))

    def reset_s(self, charge: Charge, now: float) -> float:
        leaving = [at + charge.limit.window_s - now for at, _ in self.admitted[charge.name, charge.key]]
        return min((wait_s for wait_s in leaving if wait_s > 0), default=0.0)

    def take(self, charges: Sequence[Charge], now: float) -> None:
        for charge in charges:
            self.admitted[charge.name, charge.key].append((now, charge.cost))

    def give_back(self, charges: Sequence[Charge], taken_at: float) -> None:
        for charge in charges:
            self.admitted[charge.name, charge.key].remove((taken_at, charge.cost))
