"""How often something may be done: limits as values."""

from amrikyy.ratelimit.limit import Limit

__all__ = ["Limit"]
