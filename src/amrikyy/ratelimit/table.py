"""Which limits there are: the guide's table, what agents declare, and what RATE_LIMITS overrides."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from amrikyy.ratelimit.decision import Charge
from amrikyy.ratelimit.limit import Limit

DEFAULTS = {
    "global": Limit.parse("100/minute"),  # the guide's
    "admin": Limit.parse("10/minute"),  # the guide's
    "login.address": Limit.parse("30/10 minutes"),  # failed logins from one address
    "login.account": Limit.parse("10/10 minutes"),  # failed logins to one account, whether it exists or not
}


REMEMBERED = 4096
"""How many charges, and commands that take them, are cached: the same callers come again and again."""


class LimitTable:
    """The limits by name.

    Args:
        declared: limits of agents and operations ("travel", "travel.searchFlights"); None where they declare none, so
            that RATE_LIMITS may still name them.
        overrides: RATE_LIMITS.

    Raises:
        ValueError: RATE_LIMITS names something that does not exist, or a value of it is not a limit.
    """

    def __init__(self, declared: Mapping[str, Limit | None], overrides: Mapping[str, str]) -> None:
        self._limits: dict[str, Limit | None] = {**DEFAULTS, **declared}
        self._remembered = lru_cache(REMEMBERED)(self._charges)
        for name, text in overrides.items():
            if name not in self._limits:
                known = ", ".join(self._limits)
                raise ValueError(f"RATE_LIMITS: there is no limit {name!r}; the limits are {known}.")
            try:
                self._limits[name] = Limit.parse(text)
            except ValueError as error:
                raise ValueError(f"RATE_LIMITS: {name}: {error}.") from None

    def __getitem__(self, name: str) -> Limit | None:
        return self._limits[name]

    def charges(self, key: str, names: tuple[str, ...]) -> tuple[Charge, ...]:
        """What a request of `key` is charged: each of `names` that has a limit."""
        return self._remembered(key, names)

    def _charges(self, key: str, names: tuple[str, ...]) -> tuple[Charge, ...]:
        assert len(set(names)) == len(names), "what counts against one limit is one charge"
        return tuple([Charge(name, key, limit) for name in names if (limit := self._limits[name]) is not None])

    def operation(self, key: str, operation: str) -> tuple[Charge, ...]:
        """What running an operation is charged: the agent's limit and its own."""
        return self.charges(key, (operation.partition(".")[0], operation))

    def operations(self, key: str, times: Mapping[str, int]) -> list[Charge]:
        """What a plan that runs each operation so many times is charged: each limit once, with the total cost."""
        counted: Counter[str] = Counter()
        for operation, count in times.items():
            counted[operation.partition(".")[0]] += count
            counted[operation] += count
        charges = self.charges(key, tuple(counted))
        return [msgspec.structs.replace(charge, cost=counted[charge.name]) for charge in charges]
