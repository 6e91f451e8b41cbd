"""What somebody may have meant: the end of a sentence about an unknown name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is nearest to ``name``, empty if none is near."""
    plain = {candidate.lower().replace("-", "_"): candidate for candidate in known}
    matches = get_close_matches(name.lower().replace("-", "_"), plain, n=1, cutoff=0.65)
    return plain[matches[0]] if matches else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the nearest known name, empty if none is near."""
    match = nearest(name, known)
    return f"did you mean {match!r}?" if match else ""
