"""The part of the cache that all processes share, in Redis."""

import asyncio
import json
import time
from contextlib import suppress
from typing import cast

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from amrikyy.cache.entry import Entry, decode, encode
from amrikyy.cache.memory import MemoryCache, matcher
from amrikyy.errors import RedisUnavailable, Undecryptable
from amrikyy.redis_link import LinkState, RedisLink, Reply
from amrikyy.sealing import PLAIN, Sealer

log = structlog.get_logger(__name__)

SCAN_COUNT = 1000
"""About how many keys of the index one step of clearing scans."""

LISTEN_S = 5.0
"""How long one wait for a message lasts; after it at the latest, an unreachable Redis is noticed."""

RETRY_S = 1.0

AGAIN_S = 0.1
"""Seconds after which an attempt to stop the listening is repeated."""

MAX_OWED = 100
"""The most patterns that wait to be cleared in Redis. Beyond them, all entries of the agent are cleared."""

SWEEP_S = 10
"""Seconds between two removals of dead keys from an agent's index."""


class RedisCache:
    """A `SharedCache`. While Redis is unreachable, nothing is found and nothing is stored; nobody waits, nothing fails.

    Each agent has an index of its keys, so that clearing scans only those. Clearing is published to all processes,
    which remove the entries from their memory; a process that missed messages empties its memory when it reconnects.

    Args:
        link: not the one of the rate limits: a large entry must not hold up their decisions.
        news: a client for the subscription; its reads may block.
        memory: this process's own cache, from which entries that others clear are removed.
        prefix: of all keys.
        sealer: seals entries.
    """

    def __init__(
        self, link: RedisLink, news: Redis, memory: MemoryCache, *, prefix: str, sealer: Sealer = PLAIN
    ) -> None:
        self._link = link
        self._news = news
        self._memory = memory
        self._sealer = sealer
        self._prefix = f"{prefix}:cache"
        self._swept: dict[str, int] = {}
        self._owed: dict[tuple[str, str], None] = {}
        self._clearing: asyncio.Task[None] | None = None
        link.watch(self._link_changed)
        self._listening = asyncio.get_running_loop().create_task(self._listen(), name="cache-news")

    def ask(self, key: str) -> "asyncio.Future[Reply] | None":
        """Send the query now, for a later `get`."""
        try:
            asked = self._link.send("GET", self._key(key))
        except RedisUnavailable:
            return None
        asked.add_done_callback(lambda reply: reply.cancelled() or reply.exception())  # a `get` need not follow
        return asked

    async def get(self, key: str, asked: "asyncio.Future[Reply] | None" = None) -> Entry | None:
        """The entry, if there is one and it arrives in time. `asked`: from `ask`."""
        if self._owed and any(agent == key.partition(":")[0] for agent, _ in self._owed):
            return None
        try:
            found = await (asked or self._link.send("GET", self._key(key)))
            if found is None:
                return None
            entry = decode(self._sealer.unseal(cast("bytes", found), self._key(key)))
            _well_formed(entry.result)
            entry.result.decode()
            return entry
        except (RedisUnavailable, Undecryptable):
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            log.warning("cache_entry_unreadable", key=key)
            return None

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry until it is dead. It is sent before anything that is sent later on the same link."""
        agent = key.partition(":")[0]
        lives_ms = int(1000 * (entry.fresh_s + entry.stale_s - entry.age_s))
        if lives_ms <= 0:
            return
        now, place = int(time.time()), self._key(key)
        try:
            # The index first: it may have a key too many, but an entry that it lacks could not be cleared.
            self._link.tell(b"ZADD", self._index(agent), now + lives_ms // 1000 + 1, key)
            self._link.tell(b"SET", place, self._sealer.seal(encode(entry), place), b"PX", lives_ms)
            if now >= self._swept.get(agent, 0) + SWEEP_S:
                self._swept[agent] = now
                self._link.tell(b"ZREMRANGEBYSCORE", self._index(agent), 0, now)
        except RedisUnavailable:
            pass

    async def clear(self, agent: str, pattern: str) -> int | None:
        """Remove what matches, here and in every process's memory.

        Returns:
            how many; None if Redis is unreachable: they are removed as soon as it is back.
        """
        matches = matcher(pattern)
        cleared, cursor = 0, b"0"
        try:
            while True:
                reply = await self._link.send("ZSCAN", self._index(agent), cursor, "COUNT", SCAN_COUNT)
                cursor, found = cast("tuple[bytes, list[bytes]]", reply)
                doomed = [key for key in found[::2] if matches.match(key.decode())]
                if doomed:
                    removed = await asyncio.gather(*(self._link.send("UNLINK", self._key(key)) for key in doomed))
                    cleared += sum(cast("list[int]", removed))
                    await self._link.send("ZREM", self._index(agent), *doomed)
                if cursor == b"0":
                    break
            await self._link.send("PUBLISH", self._channel, json.dumps({"clear": pattern}))
        except RedisUnavailable as error:
            log.warning("cache_not_cleared_in_redis", agent=agent, reason=error.message)
            self._owed[agent, pattern if len(self._owed) < MAX_OWED else f"{agent}:*"] = None
            return None
        self._owed.pop((agent, pattern), None)
        return cleared

    async def close(self) -> None:
        """Wait for what is still being sent, and stop listening."""
        with suppress(RedisUnavailable):
            await self._link.ping()
        if self._clearing is not None:
            self._clearing.cancel()
            await asyncio.wait([self._clearing])
        while not self._listening.done():  # redis-py swallows a cancellation that comes while it connects
            self._listening.cancel()
            await asyncio.wait([self._listening], timeout=AGAIN_S)
        await self._news.aclose()

    def _link_changed(self, state: LinkState) -> None:
        if state.is_up and self._owed and (self._clearing is None or self._clearing.done()):
            self._clearing = asyncio.get_running_loop().create_task(self._clear_owed(), name="cache-clear")

    async def _clear_owed(self) -> None:
        for agent, pattern in list(self._owed):
            if await self.clear(agent, pattern) is None:
                return

    @property
    def _channel(self) -> str:
        return f"{self._prefix}:news"

    def _key(self, key: str | bytes) -> str:
        return f"{self._prefix}:entry:{key if isinstance(key, str) else key.decode()}"

    def _index(self, agent: str) -> str:
        return f"{self._prefix}:index:{agent}"

    async def _listen(self) -> None:
        while True:
            try:
                async with self._news.pubsub() as news:
                    await news.subscribe(self._channel)
                    self._memory.clear("*")  # messages published before now were missed
                    while True:
                        message = await news.get_message(ignore_subscribe_messages=True, timeout=LISTEN_S)
                        if message is not None:
                            self._hear(message["data"])
            except (RedisError, OSError):
                await asyncio.sleep(RETRY_S)

    def _hear(self, data: bytes) -> None:
        try:
            self._memory.clear(json.loads(data)["clear"])
        except (ValueError, KeyError, TypeError, RecursionError):
            log.warning("cache_news_unreadable")
            self._memory.clear("*")


_well_formed = msgspec.json.Decoder(msgspec.Raw).decode
"""Raises unless the input is JSON, which is the least that callers may be served; checked without building objects."""
