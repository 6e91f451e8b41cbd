"""A rule that must hold, and what is raised where it does not."""

from __future__ import annotations


class InvariantBroken(AssertionError):
    """A rule of the brain does not hold; the message says which and shows the state."""


def require(holds: bool, rule: str, state: object = "") -> None:
    """Raise ``InvariantBroken`` unless ``holds``."""
    if not holds:
        raise InvariantBroken(f"{rule}: {state}")
