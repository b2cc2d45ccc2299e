"""The lease on executing a request: its holder does the work for all processes, as long as its process is alive."""

import asyncio
import re
from collections import deque
from typing import cast

from amrikyy.errors import RedisUnavailable
from amrikyy.redis_link import LinkState, RedisLink, Reply, Script
from amrikyy.runs.shared.keys import Keys
from amrikyy.runs.sharing import Leader, Lease

MAX_GIVEN_BACK = 1000
"""The most leases whose release is repeated when Redis is back. One beyond that expires with the run timeout."""

_VALUE = re.compile(rb"([\w-]{1,100}) ([\w-]{1,100})")
"""The value of a lease: its execution and its process."""

CLAIM = Script.of("""
local value = redis.call('GET', KEYS[1])
if value and value ~= ARGV[3] then return value end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
""")
"""Sets the key to ARGV[1] if it is unset or has the value ARGV[3]. Returns the value that it has then."""

RELEASE = Script.of("""
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
""")
"""Deletes the key if its value is ARGV[1]."""


class Leases:
    """The leases of this process.

    Args:
        link: shared with the cache, so that a lease is released after the result that was produced under it is sent.
        keys: the names of keys.
        process: the name of this process.
        timeout_s: how long a run may take.
    """

    def __init__(self, link: RedisLink, keys: Keys, process: str, *, timeout_s: float) -> None:
        self._link = link
        self._keys = keys
        self._process = process
        self._lease_ms = int(1000 * timeout_s) + 1
        self._given_back: deque[Lease] = deque(maxlen=MAX_GIVEN_BACK)
        link.watch(self._link_changed)

    def claim(self, flight: str, execution_id: str, *, instead_of: Leader | None = None) -> "Claim":
        """Ask for a lease; one held by `instead_of` is replaced."""
        return Claim(self, Lease(flight, f"{execution_id} {self._process}"), instead_of)

    def write(self, lease: Lease) -> "asyncio.Future[Reply]":
        """Write the lease if nobody holds one; the reply is None if somebody does. Raises `RedisUnavailable`."""
        # Not with the script, which costs Redis four times as much: nearly always nobody holds one.
        key = self._keys.flight(lease.flight)
        return self._link.send(b"SET", key, lease.value, b"NX", b"PX", self._lease_ms)

    async def replace(self, lease: Lease, instead_of: str | bytes) -> bytes:
        """Write the lease if there is none, or `instead_of`. Returns the value then. Raises `RedisUnavailable`."""
        key = self._keys.flight(lease.flight)
        return cast("bytes", await self._link.run(CLAIM, [key], [lease.value, self._lease_ms, instead_of]))

    def is_own(self, leader: Leader) -> bool:
        """Whether the leader is in this process."""
        return leader.process == self._process

    async def lives(self, leader: Leader) -> bool:
        """Whether the leader's process is alive. Raises `RedisUnavailable`."""
        return bool(await self._link.send(b"EXISTS", self._keys.process(leader.process)))

    def give_back(self, lease: Lease) -> None:
        """Release a lease, after everything that was sent before; repeated if Redis was away meanwhile."""
        self._given_back.append(lease)
        self._delete(lease)

    def _delete(self, lease: Lease) -> None:
        try:
            self._link.tell_script(RELEASE, [self._keys.flight(lease.flight)], [lease.value])
        except RedisUnavailable:
            return  # it is repeated

    def _link_changed(self, state: LinkState) -> None:
        if state.is_up:
            for lease in self._given_back:
                self._delete(lease)


class Claim:
    """A `Claiming` that is sent on construction."""

    def __init__(self, leases: Leases, ours: Lease, instead_of: Leader | None) -> None:
        self._leases = leases
        self._ours = ours
        self.is_late = False
        self._instead_of = f"{instead_of.execution_id} {instead_of.process}" if instead_of is not None else None
        try:
            self._sent = leases.write(ours) if instead_of is None else None
        except RedisUnavailable:
            self._sent = None

    async def lease(self) -> Lease | None:
        """The lease, with its leader if a live process has it; a dead one's is taken over. None while Redis is away."""
        leases, ours = self._leases, self._ours
        try:
            if self._instead_of is None:
                if self._sent is None:
                    return None
                if await self._sent is not None:
                    return ours
            self.is_late = True
            value = await leases.replace(ours, self._instead_of or "")
            while value != ours.value.encode():
                match = _VALUE.fullmatch(value)
                if match is not None:  # else it has no holder that could be asked
                    leader = Leader(match[1].decode(), match[2].decode())
                    if leases.is_own(leader):
                        return None
                    if await leases.lives(leader):
                        return Lease(ours.flight, value.decode(), leader)
                value = await leases.replace(ours, value)
        except RedisUnavailable:
            return None
        return ours

    def abandon(self) -> None:
        """Release the lease, if it was granted or will be."""
        if self._sent is not None:
            self._leases.give_back(self._ours)
            self._sent.add_done_callback(lambda reply: reply.cancelled() or reply.exception())
