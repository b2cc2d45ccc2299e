"""Redis: the connections to it, and whether it is reachable."""

from amrikyy.redis_link.address import RedisAddress
from amrikyy.redis_link.journal import LinkJournal
from amrikyy.redis_link.link import LinkState, Prepared, RedisLink, Script
from amrikyy.redis_link.pool import open_pool
from amrikyy.redis_link.wire import Argument, Reply

__all__ = [
    "Argument", "LinkJournal", "LinkState", "Prepared", "RedisAddress", "RedisLink", "Reply", "Script", "open_pool",
]  # fmt: skip
