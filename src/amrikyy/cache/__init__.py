"""Results of operations, cached for later callers who ask the same."""

from amrikyy.cache.cache import Cache, CacheResult, CacheStats
from amrikyy.cache.entry import Entry, key_of
from amrikyy.cache.memory import MemoryCache

__all__ = ["Cache", "CacheResult", "CacheStats", "Entry", "MemoryCache", "key_of"]
