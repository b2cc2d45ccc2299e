"""Limits counted in Redis while it is reachable, and in memory while it is not."""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Literal

import structlog

from amrikyy.errors import RedisUnavailable
from amrikyy.ratelimit.decision import Charge, Decision
from amrikyy.ratelimit.memory import MemoryLimiter, Usage
from amrikyy.ratelimit.redis import PREFIX, RedisLimiter
from amrikyy.redis_link import LinkState, RedisLink

log = structlog.get_logger(__name__)

HEARTBEAT_S = 0.5
"""How often a process announces itself; also how soon it tries Redis again after an error reply."""

HEARD_S = 10
"""How long a process that no longer announces itself still counts as alive."""

REFUSED_S = 1.0
"""For this long after a refusal, no work is done ahead of a caller's decisions: a flood costs only its refusals."""

MAX_REFUSED = 10_000
"""The most refused callers that are remembered."""

BATCH = 100
"""How many counters are reported to Redis at a time: a few milliseconds of its time."""


class FailoverLimiter:
    """A `Limiter` that never fails and never waits longer than the link's deadline.

    While Redis is unreachable, each process allows its share: each limit divided by the number of processes that were
    last seen, but never less than a single charge. When Redis is back, it is first told what was used meanwhile. So in
    any window Redis allows no more than the limit, and nor do all processes together (if the limit is at least the
    number of processes): at most twice the limit in a window in which Redis goes away, and once in any other. A Redis
    that comes back without its data has lost what it allowed. A decision that was in flight when Redis stopped may
    count twice; what is reported to Redis counts once, however often it has to be reported.

    Args:
        link: a started link that has the scripts.
        prefix: of all keys.
        replicas: how many processes to assume until Redis has reported the number.
        clock: in seconds; monotonic.

    Attributes:
        counts_in: where the next decision is made.
        replicas: how many processes were last seen.
        decided_in_memory: how many decisions were made without Redis since the start.
    """

    def __init__(
        self,
        link: RedisLink,
        *,
        prefix: str = PREFIX,
        replicas: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._clock = clock
        self._id = uuid.uuid4().hex
        self._redis = RedisLimiter(link, prefix=prefix)
        self._memory = MemoryLimiter(clock=clock)  # kept when Redis is back, because it may soon go away again
        self._untold = MemoryLimiter(clock=clock)  # what Redis has not been told yet
        self._telling: list[Usage] = []  # what it is being told and has not confirmed yet
        self._tellings = 0
        self._refused: dict[str, float] = {}
        self._link_changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.counts_in: Literal["memory", "redis"] = "memory"
        self.replicas = self._memory.divide_by = replicas
        self._seen_at = clock()
        self._has_warned = False
        self.decided_in_memory = 0

    async def start(self) -> None:
        """Count in Redis if it is reachable, and keep checking."""
        self._link.watch(self._on_change)
        with suppress(RedisUnavailable):
            await self._greet()
        self._task = asyncio.get_running_loop().create_task(self._keep_in_touch(), name="limits-in-redis")

    async def close(self) -> None:
        """Stop, and tell Redis that this process has left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(RedisUnavailable):
            await self._redis.leave(self._id)

    async def decide(self, charges: Sequence[Charge]) -> Decision:
        """Take all charges, or none. See `Limiter`."""
        return await self.ask(charges)

    def ask(self, charges: Sequence[Charge]) -> Coroutine[Any, Any, Decision]:
        """Begin to decide; the coroutine that is returned waits for the decision. See `Limiter`."""
        asked = None
        if self.counts_in == "redis":
            try:
                asked = self._redis.ask(charges)
            except RedisUnavailable as error:
                self._leave_redis(error.message)
        return self._answer(charges, asked)

    def leaves_time(self, charges: Sequence[Charge]) -> bool:
        """Whether Redis decides, and has not just refused a request of this caller."""
        return self.counts_in == "redis" and self._refused.get(charges[0].key, 0) < self._clock()

    async def _answer(self, charges: Sequence[Charge], asked: Coroutine[Any, Any, Decision] | None) -> Decision:
        if asked is not None:
            try:
                decision = await asked
            except RedisUnavailable as error:
                self._leave_redis(error.message)
            else:
                if decision.refused is not None:
                    if len(self._refused) >= MAX_REFUSED:
                        self._refused.clear()
                    self._refused[charges[0].key] = self._clock() + REFUSED_S
                return decision
        decision = self._memory.decide_now(charges)
        self.decided_in_memory += 1
        if decision.refused is None:
            for charge in charges:
                self._untold.count(charge, decision.taken_at)
        return decision

    async def peek(self, charges: Sequence[Charge]) -> Decision:
        """What `decide` would answer; nothing is taken."""
        if self.counts_in == "redis":
            try:
                return await self._redis.peek(charges)
            except RedisUnavailable as error:
                self._leave_redis(error.message)
        return await self._memory.peek(charges)

    async def refund(self, decision: Decision) -> None:
        """Give back what a decision took; what Redis counted stays counted while it is unreachable."""
        if decision.counted_in == "memory":
            self._memory.refund_now(decision)
            self._untold.refund_now(decision)
        elif self.counts_in == "redis":
            with suppress(RedisUnavailable):
                await self._redis.refund(decision)

    def _on_change(self, state: LinkState) -> None:
        if state.is_up:
            self._link_changed.set()
        else:
            self._leave_redis(state.reason)

    def _leave_redis(self, reason: str) -> None:
        if self.counts_in == "redis":
            self.counts_in = "memory"
            if self._link.state.is_up:  # it replied with an error; the link itself logs that it is down
                self._has_warned = True
                log.warning("limits_in_memory", divided_by=self.replicas, reason=reason)

    async def _keep_in_touch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._link_changed.wait()
            self._link_changed.clear()
            with suppress(RedisUnavailable):
                await self._greet()

    async def _greet(self) -> None:
        there = await self._redis.greet(self._id, HEARD_S)
        now = self._clock()
        if self.counts_in == "memory":
            self._seen_at = now  # a Redis that was away has yet to hear from the others
        if there >= self.replicas or now - self._seen_at > HEARD_S:
            self.replicas = self._memory.divide_by = there
            self._seen_at = now
        if self.counts_in == "memory":
            await self._return()

    async def _return(self) -> None:
        """Tell Redis what memory counted, and count there again.

        Raises:
            RedisUnavailable: it is unreachable again. The same report will be sent again, under the same number.
        """
        while self.counts_in == "memory" and self._link.state.is_up:
            if not self._telling:
                self._telling, self._untold = self._untold.usages(), MemoryLimiter(clock=self._clock)
                self._tellings += 1
            teller = (self._id, self._tellings)
            try:
                while True:
                    batch = self._telling[:BATCH]
                    telling = self._redis.add(batch, self._clock(), teller)
                    if len(self._telling) <= BATCH and not len(self._untold):
                        self.counts_in = "redis"  # decisions from now on are sent, and so made, after this
                        if self._has_warned:
                            self._has_warned = False
                            log.info("limits_in_redis", replicas=self.replicas)
                    await telling
                    del self._telling[:BATCH]
                    if not self._telling:
                        break
            except RedisUnavailable as error:
                self._leave_redis(error.message)
                raise
