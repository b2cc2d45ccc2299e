"""Follows the events of another process' execution."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import msgspec
import structlog

from amrikyy.errors import RedisUnavailable, RunLost, Unavailable
from amrikyy.redis_link import RedisLink, Reply
from amrikyy.runs.shared.encoding import Batch, decode_batch, decode_note
from amrikyy.runs.shared.keys import Keys
from amrikyy.runs.shared.presence import ALIVE_S, RENEW_S
from amrikyy.sealing import Sealer

log = structlog.get_logger(__name__)

FIRST_POLL_S = 0.01
LAST_POLL_S = 0.05
"""Pauses between polls: short while events come quickly, and never long enough to be noticeable."""

AWAY_S = 20.0
"""How long Redis may be away while events are read before the reader gets an error."""

ENTRIES = 100
"""Entries read in one poll."""


class Tail:
    """Reads an execution's stream from its first event.

    Args:
        link: to Redis.
        keys: the names of keys.
        sealer: unseals what is read.
        execution_id: the execution to follow.
        process: the process that works on it.
        renew: called each second, so that the other process keeps the execution for this one.
    """

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        sealer: Sealer,
        execution_id: str,
        process: str,
        renew: Callable[[], None],
    ) -> None:
        self._link = link
        self._sealer = sealer
        self._note = keys.run(execution_id)
        self._events = keys.events(execution_id)
        self._process = keys.process(process)
        self._renew = renew
        self._position = 0

    async def stored(self) -> list[Batch]:
        """The batches stored since the last call.

        Raises:
            RedisUnavailable: Redis is away.
            RunLost: an entry cannot be read, or the first ones are no longer stored.
            Undecryptable: an entry is sealed with a key that this server does not have.
        """
        looks = [self._link.send("XRANGE", self._events, f"{self._position + 1}-0", "+", "COUNT", ENTRIES)]
        if not self._position:
            looks.append(self._link.send("GET", self._note))
        found, *noted = await asyncio.gather(*looks)
        try:
            batches = [self._read(*entry) for entry in cast("list[tuple[bytes, list[bytes]]]", found)]
            if noted and not batches:
                batches = self._whole(noted[0])
        except (msgspec.DecodeError, RecursionError):
            log.warning("run_events_unreadable", key=self._events)
            raise RunLost("The events of this run cannot be read. Start it again.") from None
        for batch in batches:
            if batch.first > self._position + 1:
                raise RunLost("The first events of this run are no longer stored. Start it again.")
            self._position = batch.first + len(batch.events) - 1
        return batches

    def _read(self, entry: bytes, fields: list[bytes]) -> Batch:
        return decode_batch(self._sealer.unseal(fields[1], self._events, int(entry.partition(b"-")[0])))

    def _whole(self, encoded: Reply) -> list[Batch]:
        """All events, if they were stored at once with the run that started the execution."""
        if encoded is None:
            return []
        note = decode_note(self._sealer.unseal(cast("bytes", encoded), self._note))
        return [note.whole] if note.whole is not None else []

    async def follow(self) -> AsyncIterator[Batch]:
        """The stored batches, and then new ones as they come, up to the end.

        Raises:
            RunLost: the other process died, or never began.
            Unavailable: Redis has been away for too long.
        """
        loop = asyncio.get_running_loop()
        pause_s = FIRST_POLL_S
        heard_at = renew_at = loop.time()
        is_away = False
        while True:
            now = loop.time()
            try:
                if now >= renew_at:
                    renew_at = now + RENEW_S
                    self._renew()
                    # A process that is alive but has stored nothing may have forgotten that it was to work on this.
                    if await self._link.send("EXISTS", self._process) and self._position:
                        heard_at = now
                batches = await self.stored()
            except RedisUnavailable as error:
                if now - heard_at > AWAY_S:
                    raise Unavailable(
                        "Another process is working on this run, and Redis, which has its events, is away. Try again.",
                        code="run_elsewhere",
                        retry_after_s=1,
                    ) from error
                is_away = True
                await asyncio.sleep(LAST_POLL_S)
                continue
            for batch in batches:
                yield batch
                if batch.end is not None:
                    return
            if batches or is_away:  # once Redis is back, the other process may need a moment longer to reconnect
                heard_at, is_away, pause_s = now, False, FIRST_POLL_S
            elif now - heard_at > ALIVE_S:
                # A process that died longer ago than its heartbeat is valid writes no more events.
                raise RunLost("The process that was to run this died before the run had ended. Start it again.")
            await asyncio.sleep(pause_s)
            pause_s = min(LAST_POLL_S, pause_s * 1.5)
