"""A consistent hash ring over replica indices: the same order in every router, stable when replicas come and go."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from hashlib import blake2b
from zlib import crc32

POINTS_PER_INDEX = 16
FEW = 16  # up to so many candidates, weighing each is cheaper than walking the ring


def point_of(name: str) -> int:
    """Return the stable 32-bit position of a model."""
    return crc32(name.encode())


class Ring:
    """Positions of replica indices (Karger et al. 1997), several each so that shares are even."""

    def __init__(self) -> None:
        self._points: list[tuple[int, int]] = []
        self._members: dict[int, int] = {}  # index → how many incarnations have it

    def add(self, index: int) -> None:
        self._members[index] = self._members.get(index, 0) + 1
        if self._members[index] == 1:
            for point in self._of(index):
                insort(self._points, (point, index))

    def remove(self, index: int) -> None:
        self._members[index] -= 1
        if not self._members[index]:
            del self._members[index]
            for point in self._of(index):
                del self._points[bisect_left(self._points, (point, index))]

    @staticmethod
    def _of(index: int) -> list[int]:
        digest = blake2b(str(index).encode(), digest_size=4 * POINTS_PER_INDEX).digest()
        return [int.from_bytes(digest[at : at + 4], "big") for at in range(0, len(digest), 4)]

    def walk(self, point: int) -> Iterator[int]:
        """Yield indices clockwise from ``point``; an index comes as often as it has points."""
        points = self._points
        start = bisect_left(points, (point, 0))
        for at in range(start - len(points), start):
            yield points[at][1]


def weigh(point: int, index: int) -> int:
    """Return the weight of ``index`` for the model at ``point`` (rendezvous hashing, Thaler and Ravishankar 1998)."""
    mixed = (point ^ (index + 1) * 0x9E3779B1) & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    mixed = (mixed ^ mixed >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return mixed ^ mixed >> 16
