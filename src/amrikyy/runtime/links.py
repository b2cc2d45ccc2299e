"""The links to Redis: one for decisions about limits, and one for all that may be slower."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from amrikyy.settings import ConfigurationError, Settings
from amrikyy.telemetry.metrics import Metrics

if TYPE_CHECKING:
    # Loaded only where there is a Redis: its client takes 7 MB.
    from amrikyy.redis_link import RedisLink

STORE_DEADLINE_S = 0.5
"""How long it may take to find a result, to learn who executes a request, or to store events: another call of a model
takes longer."""


@dataclass(frozen=True, slots=True)
class Links:
    """Two connections to one Redis.

    Attributes:
        limits: of the limits, which wait for its answer.
        store: of cache and runs: what is sent on it comes in order, and does not hold up a decision about limits.
    """

    limits: "RedisLink"
    store: "RedisLink"


async def open_links(settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> Links | None:
    """Open both, whether Redis answers now or not: it is looked for in the background. None without REDIS_URL.

    Raises:
        ConfigurationError: the URL is not that of a Redis.
    """
    limits_up, store_up = metrics.redis_up(), metrics.runs_shared()
    if settings.redis is None:
        limits_up.set(float("nan"))  # it is not away: there is none
        store_up.set(float("nan"))
        return None
    from amrikyy.ratelimit.redis import SCRIPTS as LIMITING
    from amrikyy.redis_link import LinkJournal, RedisAddress, RedisLink
    from amrikyy.runs.shared import SCRIPTS as SHARING

    try:
        address = RedisAddress.parse(settings.redis)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    link_to = partial(RedisLink, address, journal=LinkJournal(address), prefix=settings.redis_prefix)
    deadline_s = settings.redis_timeout_ms / 1000
    limits = link_to(scripts=LIMITING, deadline_s=deadline_s)
    store = link_to(scripts=SHARING, deadline_s=max(STORE_DEADLINE_S, deadline_s))
    for link in (limits, store):
        stack.push_async_callback(link.close)
    await asyncio.gather(limits.start(), store.start())
    limits_up.set(limits.state.is_up)
    limits.watch(lambda state: limits_up.set(state.is_up))
    limits.watch(lambda state: None if state.is_up else store.doubt())
    store_up.set(store.state.is_up)
    store.watch(lambda state: store_up.set(state.is_up))
    return Links(limits, store)
