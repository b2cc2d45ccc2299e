"""redis-py, for everything that is not on the admission path."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from amrikyy.redis_link.address import RedisAddress

MAX_CONNECTIONS = 32
WAIT_S = 0.5
"""Seconds to wait for a connection from the pool, for connecting, and for each reply."""


def open_pool(address: RedisAddress, *, timeout_s: float = WAIT_S, max_connections: int = MAX_CONNECTIONS) -> Redis:
    """A client that fails within `timeout_s` instead of retrying for seconds; its owner closes it with `aclose`.

    A command that blocks on purpose (BLPOP, XREAD) needs a pool of its own whose timeout is longer.
    """
    pool = BlockingConnectionPool.from_url(
        address.url,
        max_connections=max_connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),  # the default makes a dead Redis cost 3.5 s a call
        protocol=2,
        client_name="amrikyy",
    )
    return Redis.from_pool(pool)
