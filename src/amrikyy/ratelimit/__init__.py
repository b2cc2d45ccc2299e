"""Rate limits: how often something may be done, and what decides it."""

from amrikyy.ratelimit.addresses import Networks
from amrikyy.ratelimit.decision import Charge, Decision, Limiter, State, refusal
from amrikyy.ratelimit.limit import Limit
from amrikyy.ratelimit.limits import Limits
from amrikyy.ratelimit.memory import MemoryLimiter
from amrikyy.ratelimit.table import LimitTable

__all__ = [
    "Charge",
    "Decision",
    "Limit",
    "LimitTable",
    "Limiter",
    "Limits",
    "MemoryLimiter",
    "Networks",
    "State",
    "refusal",
]
