"""Limits counted in Redis, for all processes together, with one round trip a decision."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from importlib.resources import files
from itertools import groupby
from struct import pack, unpack
from typing import Any, Literal, cast

from amrikyy.ratelimit.decision import Charge, Decision, State, check_possible
from amrikyy.ratelimit.limit import Limit
from amrikyy.ratelimit.memory import Usage
from amrikyy.ratelimit.table import REMEMBERED
from amrikyy.redis_link import Argument, Prepared, RedisLink, Reply, Script

PREFIX = "amrikyy:limit"

US = 1_000_000
"""Microseconds in a second: Redis counts in microseconds, because a Lua number holds them exactly."""

_SOURCES = files("amrikyy.ratelimit")
DECIDE = Script.of(_SOURCES.joinpath("decide.lua").read_text())
AMEND = Script.of(_SOURCES.joinpath("amend.lua").read_text())
REPLICAS = Script.of(_SOURCES.joinpath("replicas.lua").read_text())
SCRIPTS = (DECIDE, AMEND, REPLICAS)
"""The scripts that the link must load."""


class RedisLimiter:
    """Sliding windows in Redis, with the same decisions as in memory, by the server's clock.

    Every method raises `RedisUnavailable` when Redis is unreachable or late; a charge may or may not then be counted.

    Args:
        link: has loaded `SCRIPTS`.
        prefix: of all keys.
        clock: in seconds; Redis's own, unless a test sets another.
    """

    def __init__(self, link: RedisLink, *, prefix: str = PREFIX, clock: Callable[[], float] | None = None) -> None:
        self._link = link
        self._prefix = prefix
        self._clock = clock
        self._asked: dict[tuple[str, str], tuple[Sequence[Charge], Prepared]] = {}

    def leaves_time(self, charges: Sequence[Charge]) -> bool:
        """Always."""
        return True

    @property
    def counts_in(self) -> Literal["redis"]:
        """Always in Redis."""
        return "redis"

    async def decide(self, charges: Sequence[Charge]) -> Decision:
        """Take all charges, or none. See `Limiter`."""
        return await self.ask(charges)

    def ask(self, charges: Sequence[Charge]) -> Coroutine[Any, Any, Decision]:
        """Request a decision now; the coroutine that is returned waits for it."""
        return self._ask(charges, take=1)

    async def peek(self, charges: Sequence[Charge]) -> Decision:
        """What `decide` would answer; nothing is taken."""
        return await self._ask(charges, take=0)

    async def refund(self, decision: Decision) -> None:
        """Give back what a decision took."""
        if decision.refused is None:
            taken_at = round(decision.taken_at * US)
            await asyncio.gather(
                *(
                    self._link.run(AMEND, [self._key(charge)], self._changes(charge, taken_at, [(0, -charge.cost)]))
                    for charge in [state.charge for state in decision.states]
                )
            )

    def add(self, usages: Sequence[Usage], now: float, teller: tuple[str, int]) -> Awaitable[object]:
        """Count what was used elsewhere. It is sent at once, so that later decisions take it into account.

        Args:
            usages: what was used.
            now: the time by the clock of the entries.
            teller: who reports it, and the report's number, which increases: each counter counts a report once.
        """
        who, number = teller
        sent = []
        for usage in usages:
            changes = [(round((now - at) * US), amount) for at, amount in usage.entries]
            # With the source: a script that had to be loaded first would run too late.
            args = self._changes(usage, 0, changes, number)
            key = self._key(usage)
            sent.append(self._link.send(b"EVAL", AMEND.source, 2, key, f"{key}:{usage.name}:told:{who}", *args))
        return asyncio.gather(*sent)

    async def greet(self, process: str, heard_s: int) -> int:
        """Announce a process; it counts as alive for `heard_s` seconds.

        Returns:
            how many processes are alive.
        """
        return cast("int", await self._link.run(REPLICAS, [f"{self._prefix}:replicas"], [process, heard_s]))

    async def leave(self, process: str) -> None:
        """Announce that a process has left."""
        await self._link.send("ZREM", f"{self._prefix}:replicas", process)

    def _ask(self, charges: Sequence[Charge], take: int) -> Coroutine[Any, Any, Decision]:
        check_possible(charges)
        can_be_asked_again = take and self._clock is None and isinstance(charges, tuple) and charges
        prepared = self._remembered(charges) if can_be_asked_again else self._prepared(charges, take)
        return self._answer(charges, self._link.begin(prepared))

    def _remembered(self, charges: Sequence[Charge]) -> Prepared:
        """The command that takes these charges: the same callers come again with the same ones."""
        name = charges[0].key, charges[-1].name
        known = self._asked.get(name)
        if known is None or known[0] is not charges:
            if known is None and len(self._asked) >= REMEMBERED:
                del self._asked[next(iter(self._asked))]
            known = self._asked[name] = (charges, self._prepared(charges, take=1))
        return known[1]

    def _prepared(self, charges: Sequence[Charge], take: int) -> Prepared:
        keys: list[str] = []
        args: list[Argument] = [self._now(), take]
        for key, group in groupby(charges, self._key):
            of_key = [*group]
            keys.append(key)
            args += (len(of_key), *[charge.name for charge in of_key], b"".join(map(_numbers, of_key)))
        return DECIDE.on(keys, args)

    async def _answer(self, charges: Sequence[Charge], reply: Coroutine[Any, Any, Reply]) -> Decision:
        refused, wait_us, now_us, *stands = unpack(f"<{3 + 2 * len(charges)}d", cast("bytes", await reply))
        states = tuple(
            [
                State(charge, max(0, charge.limit.count - int(used)), reset_us / US)
                for charge, used, reset_us in zip(charges, stands[::2], stands[1::2], strict=True)
            ]
        )
        return Decision(states, charges[int(refused) - 1] if refused else None, wait_us / US, now_us / US, "redis")

    def _changes(
        self, counter: Charge | Usage, origin_us: int, changes: Sequence[tuple[int, int]], telling: int = 0
    ) -> list[Argument]:
        _, window_us, slice_us = _in_us(counter.limit)
        return [
            counter.name,
            self._now(),
            origin_us,
            window_us,
            slice_us,
            telling,
            *(number for change in changes for number in change),
        ]

    def _now(self) -> int:
        return round(self._clock() * US) if self._clock else 0

    def _key(self, counter: Charge | Usage) -> str:
        """The hash that a counter is a field of, which has all that one caller has used."""
        # A cluster runs a script only on keys of one slot, which is computed from what is in braces. The charges of a
        # request have the caller in common; those of a login do not, and are few enough to share one slot.
        if counter.name.startswith("login."):
            return f"{self._prefix}:{{login}}:{counter.key}"
        return f"{self._prefix}:{{{counter.key}}}"


def _numbers(charge: Charge) -> bytes:
    """What the script needs to know of a charge."""
    count, window_us, slice_us = _in_us(charge.limit)
    return pack("<4d", count, window_us, charge.cost, slice_us)


def _in_us(limit: Limit) -> tuple[int, int, int]:
    """The count, the window and the slice."""
    return limit.count, limit.window_s * US, round(limit.slice_s * US)
