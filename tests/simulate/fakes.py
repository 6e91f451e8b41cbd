"""Traces out of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime.simulate.arrivals import Arrival


class Listed:
    """A trace of models, one every ``every_s``."""

    def __init__(self, models: Sequence[str | None], every_s: float = 1.0) -> None:
        self.name = "listed"
        self._models = models
        self._every_s = every_s

    def __iter__(self) -> Iterator[Arrival]:
        return (Arrival(number * self._every_s, model) for number, model in enumerate(self._models))
