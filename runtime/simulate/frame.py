"""The frame that a miss-ratio curve is drawn in, whatever draws it: sizes in pixels, places, ticks."""

from __future__ import annotations

from collections.abc import Iterator
from math import log2
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 420
LONGEST: Final = 72  # characters of a title
LEFT, TOP, RIGHT, BOTTOM = 64, 48, 24, 56
APART: Final = 44  # pixels between two ticks at least


def short(title: str) -> str:
    """Return as much of a title as fits; of a path the end tells more than the beginning."""
    return title if len(title) <= LONGEST else f"{title[:20]}… {title[22 - LONGEST :]}"


def x_of(slots: float, most: int) -> float:
    """Return where ``slots`` are, on a logarithmic scale that ends at ``most``."""
    return LEFT + (WIDTH - LEFT - RIGHT) * log2(max(1.0, slots)) / log2(max(2, most))


def y_of(rate: float) -> float:
    """Return where a hit rate from 0 to 1 is."""
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * rate


def size_ticks(most: int) -> Iterator[int]:
    """Yield the powers of two that have a tick."""
    size, last = 1, -1000.0
    while size <= most:
        if x_of(size, most) - last >= APART:
            last = x_of(size, most)
            yield size
        size *= 2
