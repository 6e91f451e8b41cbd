"""Models that were never loaded here: how many of them may take other models' slots at once.

Only the loader can tell whether an id exists at all, so a flood of made-up ids costs a slot each while its load
fails. Trust is earned: one newcomer at a time, one more for every one that did load, and one again after a failure
or after a while without newcomers. So a flood takes one warm model's slot, which then serves the whole flood, and
real new models wait at most for each other's turns.
"""

from __future__ import annotations

from typing import Final

from runtime.core.events import Key

TRUSTED: Final = 16.0  # load times for which a newcomer that did load counts


class Newcomers:
    """The loads under way of models never loaded here, and what became of the last ones."""

    def __init__(self) -> None:
        self.loading: dict[Key, None] = {}
        self._allowed = 1
        self._until = 0.0

    def started(self, key: Key) -> None:
        self.loading[key] = None

    def loaded(self, key: Key, load_s: float, now: float) -> None:
        """Trust one more of those that come next, for a while."""
        if key in self.loading:
            del self.loading[key]
            self._allowed = self.allowed(now) + 1
            self._until = max(self._until, now + TRUSTED * load_s)

    def failed(self, key: Key) -> None:
        """Trust none of them beyond the first."""
        if key in self.loading:
            del self.loading[key]
            self._allowed = 1

    def allowed(self, now: float) -> int:
        """Return how many may load at once where others must go for them."""
        return self._allowed if now < self._until else 1
