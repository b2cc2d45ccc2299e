"""The cache as the runner sees it: memory in front, and behind it, where there is one, what all processes share."""

import asyncio
from collections import Counter, defaultdict
from typing import Any, Literal, Protocol

from amrikyy.cache.entry import Entry
from amrikyy.cache.memory import MemoryCache


class SharedCache(Protocol):
    """What all processes share. Nothing here raises when it cannot be reached: a cache that is away is a cold one."""

    def ask(self, key: str) -> "asyncio.Future[Any] | None":
        """Send the question now, for `get`; nobody need get the answer."""
        ...

    async def get(self, key: str, asked: "asyncio.Future[Any] | None" = None) -> Entry | None:
        """The entry, if it is there and can be had in time. `asked`: from `ask`."""
        ...

    def put(self, key: str, entry: Entry) -> None:
        """Keep it until it is dead, soon."""
        ...

    async def clear(self, agent: str, pattern: str) -> int | None:
        """Forget what matches, here and in every process' memory. Returns how many; None when it cannot be reached."""
        ...


CacheResult = Literal["hit", "similar", "miss", "join", "stale", "bypass", "store", "clear"]
"""What happened to a request for a cacheable result, or to a result."""


class Observe(Protocol):
    """Is told of each operation."""

    def __call__(self, agent: str, result: CacheResult, /, *, by: int) -> None:
        """It happened so many times."""
        ...


class CacheStats(Counter[CacheResult]):
    """How often each happened, in this process."""

    @property
    def hit_rate(self) -> float:
        """Share of the requests that cost no model call, of those that were allowed to look: 0 to 1."""
        # What was served stale was a miss first.
        saved = self["hit"] + self["similar"] + self["join"]
        served = saved + self["stale"]
        asked = saved + self["miss"]
        return served / asked if asked else 0.0


class Cache:
    """Gets, keeps and clears results; a failure of what is shared is never the caller's.

    Args:
        memory: this process' part.
        shared: what all processes share.
        observe: told of each operation.
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
        self._observe = observe

    @property
    def is_shared(self) -> bool:
        """Whether there is more than this process has in memory."""
        return self._shared is not None

    def at_hand(self, key: str) -> Entry | None:
        """The entry that memory has, fresh or stale."""
        return self.memory.get(key)

    def ask(self, key: str) -> "asyncio.Future[Any] | None":
        """Ask for what is shared now, for `get`; nobody need get the answer."""
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
        """Keep an entry, here at once and elsewhere soon."""
        self.count(agent, "store")
        self.memory.put(key, entry)
        if self._shared is not None:
            self._shared.put(key, entry)

    async def clear(self, agent: str, pattern: str | None = None) -> int:
        """Forget an agent's entries.

        Args:
            agent: whose; nothing of another agent is touched, whatever the pattern says.
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
