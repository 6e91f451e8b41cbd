"""The byte budget of a replica: reserve before a load, correct after it, start nothing while over."""

from __future__ import annotations

from runtime.core.slots import Entry, History
from runtime.core.wants import Want


class Budget:
    """Bytes held by all caches together; ``limit`` None: nothing is limited, and everything fits."""

    def __init__(self, limit: int | None, history: History, slots: int) -> None:
        self.limit = limit
        self._history = history
        self._slots = max(1, slots)
        self.used = 0
        self.pinned = 0

    def known(self, want: Want) -> int:
        """Return the size as last measured, else the fetched file's; 0 if neither is known."""
        past = self._history.peek(want.key)
        return (past.size_bytes if past else 0) or want.fetch_size

    def expected(self, want: Want) -> int:
        """Return the bytes to reserve: a known size, else the mean, else an equal share of the budget."""
        if self.limit is None:
            return self.known(want)
        share = int(self._history.mean_size_bytes) or self.limit // self._slots
        return self.known(want) or min(share, max(0, self.limit - self.pinned))

    @property
    def least(self) -> int:
        """Return the bytes that any model takes at the least: of the smallest so far, as far as pins leave so many."""
        if self.limit is None:
            return 0
        return max(1, min(self._history.least_size_bytes, self.limit - self.pinned))

    def too_large(self, size_bytes: int, own: Entry | None = None) -> bool:
        """Return whether a model of that size cannot fit beside what else is pinned, whoever else goes."""
        pinned = self.pinned - (own.size_bytes if own is not None and own.pinned else 0)
        return self.limit is not None and size_bytes > self.limit - pinned

    def resize(self, entry: Entry, size_bytes: int) -> None:
        self.used += size_bytes - entry.size_bytes
        if entry.pinned:
            self.pinned += size_bytes - entry.size_bytes
        entry.size_bytes = size_bytes

    def pin(self, entry: Entry, pinned: bool) -> None:
        if entry.pinned != pinned:
            entry.pinned = pinned
            self.pinned += entry.size_bytes if pinned else -entry.size_bytes

    def drop(self, entry: Entry) -> None:
        """Give back the bytes of an entry that leaves its slot."""
        self.resize(entry, 0)

    @property
    def over(self) -> int:
        return max(0, self.used - self.limit) if self.limit is not None else 0

    def room(self) -> int | None:
        """Return how many models of the mean size fit beside what is held; None: without limit."""
        if self.limit is None:
            return None
        size = int(self._history.mean_size_bytes) or self.limit // self._slots or 1
        return max(0, self.limit - self.used) // size
