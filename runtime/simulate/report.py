"""Results as text: one row a policy, beside what hindsight could do."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.simulate.belady import Yardstick
from runtime.simulate.result import Result

_COLUMNS = (
    ("POLICY", 10), ("REQ/S", 8), ("HIT %", 7), ("LOADS/100", 10), ("EVICTIONS", 10), ("WAIT P50", 9), ("P90", 8),
    ("P99", 8), ("MAX", 8), ("FAILED", 7),
)  # fmt: skip


def heading() -> str:
    """Return the line above the rows. Columns have fixed widths, so that each row can be shown when it is known."""
    return _line([name for name, _ in _COLUMNS])


def row(result: Result) -> str:
    """Return one run as a row. Waits are from a request's arrival until user code begins."""
    waits = [result.waits.percentile(share) for share in (0.5, 0.9, 0.99)]
    return _line(
        [
            result.policy,
            f"{result.rate:.1f}",
            f"{100 * result.hit_rate:.1f}",
            f"{result.loads_per_100:.1f}",
            str(result.evictions),
            *(brief(seconds) for seconds in (*waits, result.waits.max_s)),
            str(result.failures),
        ]
    )


def yardstick_row(yardstick: Yardstick) -> str:
    """Return a cache that serves the trace in order; it has no clock, so no waits."""
    hits, misses = f"{100 * yardstick.hit_rate:.1f}", f"{yardstick.misses_per_100:.1f}"
    return _line([yardstick.name, "-", hits, misses, *["-"] * 6])


def footnote(slots: int) -> str:
    size = f"{slots} slots" if slots >= 0 else "unlimited slots"
    return (
        f"belady and pooled lru: one cache of {size} that serves the trace strictly in order, one load a miss; belady\n"
        "knows the future. A pool whose waiting requests share a load can stay below both."
    )


def brief(seconds: float) -> str:
    """Return a duration in at most seven characters."""
    if seconds < 0.01:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 10.0:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 1000 else f"{seconds:.0f} s"


def _line(cells: Sequence[str]) -> str:
    first, *rest = cells
    padded = [cell.rjust(width) for cell, (_, width) in zip(rest, _COLUMNS[1:], strict=True)]
    return first.ljust(_COLUMNS[0][1]) + " ".join(padded)
