"""Logs that Redis is unreachable and that it is back: one line each, however many links notice."""

import time

import structlog

from amrikyy.redis_link.address import RedisAddress

log = structlog.get_logger(__name__)


class LinkJournal:
    """Shared by the links to one Redis, which is down as long as one of them is.

    Args:
        address: where Redis is.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._down: set[object] = set()
        self._is_up: bool | None = None
        self._since = time.monotonic()

    def up(self, link: object) -> None:
        """A link is up."""
        self._down.discard(link)
        if not self._down and self._is_up is not True:
            down_s = time.monotonic() - self._since
            self._is_up = True
            log.info("redis_up", address=str(self._address), down_s=round(down_s, 3))

    def down(self, link: object, reason: str) -> None:
        """A link is down."""
        self._down.add(link)
        if self._is_up is not False:
            self._is_up = False
            self._since = time.monotonic()
            log.warning("redis_down", address=str(self._address), reason=reason)
