"""Times and sizes as people read them."""

from __future__ import annotations

import re

from mux_cli.exits import UsageProblem

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def duration(seconds: float | None) -> str:
    """Return ``0.8s``, ``42s``, ``3m12s``, ``5h03m`` or ``2d4h``; a dash for no time at all."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def size(count: int) -> str:
    """Return bytes as ``512 B``, ``81 MiB`` or ``1.4 GiB``; a dash for nothing known."""
    if count <= 0:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit in ("B", "KiB") or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def seconds(text: str) -> float:
    """Return the seconds of ``90``, ``30s``, ``10m``, ``1h30m`` or ``2d``; raises ``UsageProblem`` otherwise."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d|w))+", text):
        raise UsageProblem(f"'{text}' is not a length of time.", hint="Write it as 30s, 10m, 1h30m or 2d.")
    return sum(float(n) * _UNITS_S[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", text))
