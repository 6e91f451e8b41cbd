"""Sizes and durations as people write them: ``64MiB``, ``1.5GB``, ``30s``, ``1m30s``."""

from __future__ import annotations

import math
import re

_SIZE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

SIZE_PATTERN = r"^\d+(\.\d+)?\s*([KkMmGgTt][Ii]?)?[Bb]$"
DURATION_PATTERN = r"^(\d+(\.\d+)?(ms|s|m|h|d))+$"


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` means: ``64MiB`` (2^20), ``64MB`` (10^6), ``512B``.

    Raises ``ValueError`` with a sentence that says what to write.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write bytes as a number, or 64MiB, 1GiB, 10GB")
    number, unit = match.groups()
    if unit.lower() in ("k", "m", "g", "t", "ki", "mi", "gi", "ti"):
        letter = unit[0].upper()
        raise ValueError(f"{text!r} is ambiguous; write {number}{letter}iB (2^n) or {number}{letter}B (10^n)")
    if unit.lower() not in _SIZE_UNITS:
        raise ValueError(f"{text!r} has an unknown unit; write B, KiB, MiB, GiB, TiB or kB, MB, GB, TB")
    return round(float(number) * _SIZE_UNITS[unit.lower()])


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` means: ``250ms``, ``30s``, ``5m``, ``1h30m``, ``2d``.

    Raises ``ValueError`` with a sentence that says what to write.
    """
    compact = text.replace(" ", "")
    if _DURATION.fullmatch(compact) is None:
        raise ValueError(f"{text!r} is not a duration; write seconds as a number, or 250ms, 30s, 5m, 1h30m")
    return math.fsum(float(n) * _DURATION_UNITS[unit] for n, unit in _DURATION_PART.findall(compact))


def format_size(size_bytes: int) -> str:
    """Return the shortest exact spelling of a size: ``1GiB``, ``10GB``, ``1025B``."""
    for unit, shown in (("tib", "TiB"), ("gib", "GiB"), ("mib", "MiB"), ("kib", "KiB"),
                        ("tb", "TB"), ("gb", "GB"), ("mb", "MB"), ("kb", "kB")):  # fmt: skip
        if size_bytes and size_bytes % _SIZE_UNITS[unit] == 0:
            return f"{size_bytes // _SIZE_UNITS[unit]}{shown}"
    return f"{size_bytes}B"


def format_duration(seconds: float) -> str:
    """Return a duration as it would be written: ``30s``, ``0.5s``."""
    return f"{seconds:g}s"
