"""What was decided lately and among which candidates, for ``mux explain``: a bounded ring."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from runtime.core.events import Summary
from runtime.core.eviction import Standing


class Candidate(NamedTuple):
    """One that could have been chosen, a replica or a model, and what it was judged by."""

    name: str
    scores: Summary | Standing | Mapping[str, float]

    def values(self) -> dict[str, float]:
        """Return what it was judged by, by name."""
        return self.scores._asdict() if isinstance(self.scores, (Summary, Standing)) else dict(self.scores)


class Decision(NamedTuple):
    """One choice. ``at`` is the clock of the events; ``case`` is the rule's number in ``core.cases``."""

    at: float
    case: int
    model: str
    chosen: str
    candidates: tuple[Candidate, ...] = ()
    request: object = None


class Decisions:
    """The last ``limit`` decisions. Recording costs one tuple; hot paths do not record."""

    def __init__(self, limit: int = 512) -> None:
        self._ring: deque[Decision] = deque(maxlen=limit)

    def note(
        self,
        at: float,
        case: int,
        model: str,
        chosen: str = "",
        candidates: tuple[Candidate, ...] = (),
        request: object = None,
    ) -> None:
        self._ring.append(Decision(at, case, model, chosen, candidates, request))

    def list(self, model: str | None = None) -> list[Decision]:
        """Return the recorded decisions, oldest first; of one model if named."""
        return [one for one in self._ring if model is None or one.model == model]

    def __len__(self) -> int:
        return len(self._ring)
