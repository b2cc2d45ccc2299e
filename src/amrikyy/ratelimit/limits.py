"""Everything about limits that lives as long as the process."""

from dataclasses import dataclass

from amrikyy.ratelimit.addresses import Networks
from amrikyy.ratelimit.decision import Limiter
from amrikyy.ratelimit.table import LimitTable


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits, and who is subject to them.

    Attributes:
        table: the limits by name.
        limiter: counts the requests.
        whitelist: addresses whose requests are not counted.
        trusted_proxies: addresses whose X-Forwarded-For is believed.
    """

    table: LimitTable
    limiter: Limiter
    whitelist: Networks
    trusted_proxies: Networks
