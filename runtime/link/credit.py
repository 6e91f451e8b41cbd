"""What one process may grant to its peers beyond the initial windows."""

from __future__ import annotations

from typing import Final

from runtime.link.frames import KIB


class CreditBudget:
    """A bound in bytes over all links of a process: windows grow only while it lasts."""

    def __init__(self, total: int = 64 * KIB * KIB) -> None:
        self.left = total

    def take(self, amount: int) -> bool:
        """Reserve ``amount`` bytes; False, and nothing reserved, if less is left."""
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def give(self, amount: int) -> None:
        self.left += amount


SHARED_BUDGET: Final = CreditBudget()
