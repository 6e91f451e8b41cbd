"""A rule that must hold, and what is raised where it does not."""

from __future__ import annotations

from typing import NoReturn


class InvariantBroken(AssertionError):
    """A rule of the brain does not hold; the message says which and shows the state."""


def broken(rule: str, state: object = "") -> NoReturn:
    """Raise ``InvariantBroken``. Checks made at every step ask first and call then: most rules hold."""
    raise InvariantBroken(f"{rule}: {state}")


def require(holds: bool, rule: str, state: object = "") -> None:
    """Raise ``InvariantBroken`` unless ``holds``."""
    if not holds:
        broken(rule, state)
