"""The cache as the runner sees it: this process's memory, and behind it a cache that all processes share, if any."""

import asyncio
from collections import Counter, defaultdict
from typing import Any, Literal, Protocol

from amrikyy.cache.entry import Entry
from amrikyy.cache.memory import MemoryCache


class SharedCache(Protocol):
    """The cache that all processes share. Nothing raises when it cannot be reached: it then acts as an empty cache."""

    def ask(self, key: str) -> "asyncio.Future[Any] | None":
        """Send the query now, for a later `get`, which need not follow."""
        ...

    async def get(self, key: str, asked: "asyncio.Future[Any] | None" = None) -> Entry | None:
        """The entry, if there is one and it arrives in time. `asked`: from `ask`."""
        ...

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry, soon, until it is dead."""
        ...

    async def clear(self, agent: str, pattern: str) -> int | None:
        """Remove what matches, here and in every process's memory. Returns how many; None if it cannot be reached."""
        ...


CacheResult = Literal["hit", "similar", "miss", "join", "stale", "bypass", "store", "clear"]
"""What happened when a cacheable result was requested, stored or cleared."""


class Observe(Protocol):
    """Called for each operation on the cache."""

    def __call__(self, agent: str, result: CacheResult, /, *, by: int) -> None:
        """Count `result`, which happened `by` times."""
        ...


class CacheStats(Counter[CacheResult]):
    """How often each result occurred in this process."""

    @property
    def hit_rate(self) -> float:
        """Of the requests that were allowed to use the cache, the share that cost no model call: 0 to 1."""
        # What was served stale was a miss first.
        saved = self["hit"] + self["similar"] + self["join"]
        served = saved + self["stale"]
        asked = saved + self["miss"]
        return served / asked if asked else 0.0


class Cache:
    """Gets, stores and clears results; a failure of the shared cache never reaches the caller.

    Args:
        memory: this process's own cache.
        shared: the cache that all processes share.
        observe: called for each operation.

    Attributes:
        is_shared: whether there is a cache besides this process's memory.
    """

    def __init__(
        self,
        memory: MemoryCache,
        shared: SharedCache | None = None,
        observe: Observe | None = None,
    ) -> None:
        self.memory = memory
        self.stats: defaultdict[str, CacheStats] = defaultdict(CacheStats)
        self._shared = shared
        self.is_shared = shared is not None
        self._observe = observe

    def at_hand(self, key: str) -> Entry | None:
        """The entry in memory, fresh or stale."""
        return self.memory.get(key)

    def ask(self, key: str) -> "asyncio.Future[Any] | None":
        """Query the shared cache now, for a later `get`, which need not follow."""
        return self._shared.ask(key) if self._shared is not None else None

    async def get(self, key: str, asked: "asyncio.Future[Any] | None" = None) -> Entry | None:
        """The entry, fresh or stale; a fresh one from memory without waiting. `asked`: from `ask`."""
        entry = self.memory.get(key)
        if self._shared is None or (entry is not None and entry.is_fresh):
            return entry
        remote = await self._shared.get(key, asked)
        if remote is not None and (entry is None or remote.stored_at > entry.stored_at):
            self.memory.put(key, remote)
            return remote
        return entry

    def put(self, agent: str, key: str, entry: Entry) -> None:
        """Store an entry: in memory at once, and in the shared cache soon."""
        self.count(agent, "store")
        self.memory.put(key, entry)
        if self._shared is not None:
            self._shared.put(key, entry)

    async def clear(self, agent: str, pattern: str | None = None) -> int:
        """Remove an agent's entries.

        Args:
            agent: the agent; no entry of another agent is touched, whatever the pattern says.
            pattern: a glob on the key, with or without the agent's name in front; None for all.

        Returns:
            how many there were.
        """
        prefix = f"{agent}:"
        glob = pattern or "*"
        if not glob.startswith(prefix):
            glob = prefix + glob
        cleared = self.memory.clear(glob)
        if self._shared is not None:
            cleared = max(cleared, await self._shared.clear(agent, glob) or 0)
        self.count(agent, "clear", cleared)
        return cleared

    def count(self, agent: str, result: CacheResult, times: int = 1) -> None:
        """Count what happened."""
        self.stats[agent][result] += times
        if self._observe is not None:
            self._observe(agent, result, by=times)
