"""How long things take in virtual time, and what becomes of a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.core.events import (
    Failure,
)

Done = Callable[["Outcome"], None]


@dataclass(slots=True)
class Timing:
    """What becomes of one load or fetch: it takes ``seconds``, then fails if ``failure`` is set."""

    seconds: float
    failure: Failure | None = None
    size_bytes: int = 0


@dataclass(slots=True)
class Outcome:
    """One request's fate."""

    request: int
    model: str | None
    router: int
    arrived: float
    finished: float = 0.0
    began: float | None = None  # when user code started
    replica: str = ""
    failure: Failure | None = None

    @property
    def seconds(self) -> float:
        return self.finished - self.arrived


@dataclass(slots=True)
class Durations:
    """How long things take in virtual time."""

    work_s: Callable[[str | None], float] = field(default=lambda model: 0.005)
    load: Callable[[str], Timing] = field(default=lambda model: Timing(0.1))
    fetch: Callable[[str], Timing] = field(default=lambda model: Timing(0.0))
    unload_s: Callable[[str], float] = field(default=lambda model: 0.0)
    delay_s: Callable[[], float] = field(default=lambda: 0.0002)
