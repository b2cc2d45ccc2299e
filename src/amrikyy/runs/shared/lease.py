"""The lease on executing a request: who has it works for all processes, as long as its process lives."""

import asyncio
import re
from collections import deque
from contextlib import suppress
from typing import cast

from amrikyy.errors import RedisUnavailable
from amrikyy.redis_link import LinkState, RedisLink, Reply, Script
from amrikyy.runs.shared.keys import Keys
from amrikyy.runs.sharing import Leader, Lease

MAX_GIVEN_BACK = 1000
"""Leases that are given back again when Redis was away. One that is forgotten ends when a run may take no longer."""

_VALUE = re.compile(rb"([\w-]{1,100}) ([\w-]{1,100})")
"""Of a lease: the execution and the process."""

CLAIM = Script.of("""
local value = redis.call('GET', KEYS[1])
if value and value ~= ARGV[3] then return value end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
""")
"""Writes ARGV[1] where nothing is, or ARGV[3]. Returns what is there then."""

RELEASE = Script.of("""
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
""")
"""Deletes ARGV[1], if it is there."""


class Leases:
    """The leases of this process.

    Args:
        link: the cache's connection, too: a lease is given back behind the result that was made under it.
        keys: where things are.
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
        """Ask for a lease; one that is `instead_of`'s is put aside."""
        return Claim(self, Lease(flight, f"{execution_id} {self._process}"), instead_of)

    def write(self, lease: Lease) -> "asyncio.Future[Reply]":
        """Write the lease where nothing is; nobody's reply is None. Raises `RedisUnavailable`."""
        # Not with the script, which costs Redis four times as much: nearly always nothing is there.
        key = self._keys.flight(lease.flight)
        return self._link.send(b"SET", key, lease.value, b"NX", b"PX", self._lease_ms)

    async def replace(self, lease: Lease, instead_of: str | bytes) -> bytes:
        """Write the lease where nothing is, or `instead_of`. Returns what is there then. Raises `RedisUnavailable`."""
        key = self._keys.flight(lease.flight)
        return cast("bytes", await self._link.run(CLAIM, [key], [lease.value, self._lease_ms, instead_of]))

    def is_own(self, leader: Leader) -> bool:
        """Whether the leader is this process."""
        return leader.process == self._process

    async def lives(self, leader: Leader) -> bool:
        """Whether the leader's process is there. Raises `RedisUnavailable`."""
        return bool(await self._link.send(b"EXISTS", self._keys.process(leader.process)))

    def give_back(self, lease: Lease) -> None:
        """Delete a lease behind all that was sent before; again when Redis was away meanwhile."""
        self._given_back.append(lease)
        self._delete(lease)

    def _delete(self, lease: Lease) -> None:
        with suppress(RedisUnavailable):
            self._link.tell_script(RELEASE, [self._keys.flight(lease.flight)], [lease.value])

    def _link_changed(self, state: LinkState) -> None:
        if state.is_up:
            for lease in self._given_back:
                self._delete(lease)


class Claim:
    """A `Claiming`, sent when it is made."""

    def __init__(self, leases: Leases, ours: Lease, instead_of: Leader | None) -> None:
        self._leases = leases
        self._ours = ours
        self.is_late = False
        self._instead_of = f"{instead_of.execution_id} {instead_of.process}" if instead_of is not None else None
        self._sent: asyncio.Future[Reply] | None = None
        if instead_of is None:
            with suppress(RedisUnavailable):
                self._sent = leases.write(ours)

    async def lease(self) -> Lease | None:
        """The lease, or who has it; one of a process that is dead is taken over. None while Redis is away."""
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
                if match is not None:  # else it is nobody's that could be asked
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
        """Give the lease back, if it was granted or will be."""
        if self._sent is not None:
            self._leases.give_back(self._ours)
            self._sent.add_done_callback(lambda reply: reply.cancelled() or reply.exception())
