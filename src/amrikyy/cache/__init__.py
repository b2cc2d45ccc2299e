"""Results of operations, kept for the next caller who asks the same."""

from amrikyy.cache.cache import Cache, CacheStats
from amrikyy.cache.entry import Entry, key_of

__all__ = ["Cache", "CacheStats", "Entry", "key_of"]
