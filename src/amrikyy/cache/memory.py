"""The part of the cache that is in this process's memory."""

import fnmatch
import re
from collections import OrderedDict

from amrikyy.cache.entry import Entry


class MemoryCache:
    """Entries by key, bounded in bytes; the least recently used are evicted first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, tuple[Entry, int]] = OrderedDict()  # each with its size
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """The entry, fresh or stale, if there is one."""
        found = self._entries.get(key)
        if found is None:
            return None
        entry = found[0]
        if entry.is_dead:
            self.remove(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry, unless it is larger than a tenth of the whole cache: it would evict too many others."""
        if key in self._entries:
            self.remove(key)
        size = entry.size
        if size > self._max_bytes // 10:
            return
        self._entries[key] = entry, size
        self.bytes += size
        while self.bytes > self._max_bytes:
            _, (_, size) = self._entries.popitem(last=False)
            self.bytes -= size

    def remove(self, key: str) -> None:
        """Remove an entry, if there is one."""
        found = self._entries.pop(key, None)
        if found is not None:
            self.bytes -= found[1]

    def clear(self, pattern: str) -> int:
        """Remove every entry whose key matches a glob. Returns how many."""
        matches = matcher(pattern)
        doomed = [key for key in self._entries if matches.match(key)]
        for key in doomed:
            self.remove(key)
        return len(doomed)


def matcher(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression that takes time proportional to its input (see `fnmatch.translate`)."""
    return re.compile(fnmatch.translate(glob))
