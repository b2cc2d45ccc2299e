"""Results of operations, kept for the next caller who asks the same."""

from amrikyy.cache.cache import Cache, CacheResult, CacheStats
from amrikyy.cache.entry import Entry, key_of

__all__ = ["Cache", "CacheResult", "CacheStats", "Entry", "key_of"]
