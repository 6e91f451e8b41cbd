"""Replicas grouped by a small published number."""

from __future__ import annotations

from bisect import insort


class Buckets:
    """Replicas grouped by a small published number, as masks."""

    def __init__(self) -> None:
        self.masks: dict[int, int] = {}
        self._order: list[int] = []  # the numbers that have any, the lowest first

    def move(self, bit: int, old: int, new: int) -> None:
        self.leave(bit, old)
        if new not in self.masks:
            insort(self._order, new)
        self.masks[new] = self.masks.get(new, 0) | bit

    def leave(self, bit: int, old: int) -> None:
        rest = self.masks.get(old, 0) & ~bit
        if rest:
            self.masks[old] = rest
        elif self.masks.pop(old, None) is not None:
            self._order.remove(old)

    def lowest(self, among: int) -> int:
        """Return the lowest number of any of ``among``; 0 if none."""
        return next((number for number in self._order if self.masks[number] & among), 0)

    def best(self, among: int, *, highest: bool) -> int:
        """Return those of ``among`` in the highest or lowest bucket that has any."""
        for number in reversed(self._order) if highest else self._order:
            found = self.masks[number] & among
            if found:
                return found
        return 0
