"""A miss-ratio curve drawn in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from typing import Final

from runtime.simulate.curve import MissRatioCurve

WIDTH: Final = 64
HEIGHT: Final = 12
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_MARGIN: Final = 7


def lines(curve: MissRatioCurve, *, target: float | None = None, chosen: int | None = None) -> list[str]:
    """Return the hit rate over the slots of the whole pool, on a logarithmic scale.

    ``target`` marks a hit rate, ``chosen`` a number of slots.
    """
    rates = [curve.hit_rate(_slots_at(column, curve.most)) for column in range(WIDTH)]
    rows = [_row(row, rates, target) for row in reversed(range(HEIGHT))]
    return ["hit rate", *rows, " " * _MARGIN + "└" + "─" * WIDTH, *_axis(curve.most, chosen)]


def _slots_at(column: int, most: int) -> int:
    return max(1, int(2.0 ** (log2(max(2, most)) * column / (WIDTH - 1)) + 0.5))


def _column_of(slots: int, most: int) -> int:
    share = log2(max(1, slots)) / log2(max(2, most))
    return min(WIDTH - 1, round(share * (WIDTH - 1)))


def _row(row: int, rates: Sequence[float], target: float | None) -> str:
    cells = "".join(_BLOCKS[min(8, max(0, round(8 * (rate * HEIGHT - row))))] for rate in rates)
    label = f"{100 * (row + 1) / HEIGHT:.0f} %" if (row + 1) % 3 == 0 else ""
    mark = ""
    if target is not None and row <= target * HEIGHT < row + 1 + (row == HEIGHT - 1):
        mark = f" ◄ {100 * target:g} %"
    return f"{label:>{_MARGIN - 1}} │{cells}{mark}"


def _axis(most: int, chosen: int | None) -> list[str]:
    """Return the numbers of slots under their columns, and the mark of the chosen one."""
    numbers = [" "] * (WIDTH + 12)
    free_from, size = 0, 1
    while size <= most:
        column, text = _column_of(size, most), f"{size:,}"
        if column >= free_from:
            numbers[column : column + len(text)] = text
            free_from = column + len(text) + 2
        size *= 2
    found = [" " * (_MARGIN + 1) + "".join(numbers).rstrip() + "  slots in the pool"]
    if chosen is not None and chosen > 0:
        found.append(" " * (_MARGIN + 1 + _column_of(chosen, most)) + f"▲ {chosen:,}")
    return found
