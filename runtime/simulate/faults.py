"""What goes wrong in a simulated pool: deaths, slow and failing loads, late messages, clients that leave."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, Self

from runtime.core.events import Failure
from runtime.core.ring import point_of
from runtime.simulate.pool import Durations, Timing
from runtime.simulate.shape import Shape
from runtime.simulate.synthetic import ONCE

BROKEN: Final = Failure("model_load_failed", "the simulated loader failed")
MISSING: Final = Failure("model_not_found", "the simulated loader knows no such model")


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares are of all loads, messages or requests; 0 everywhere: nothing goes wrong.

    A replica dies about every ``kill_every_s``, and its successor is up after ``back_after_s``. A slow load takes
    ``slow_by`` times as long, a late message ``late_s``. A client leaves within ``leave_s`` of its request. Of
    the models that are never asked for again ``made_up`` do not exist, which only their loader can tell.
    """

    kill_every_s: float = 0.0
    back_after_s: float = 1.0
    slow_loads: float = 0.0
    slow_by: float = 10.0
    failing_loads: float = 0.0
    late_messages: float = 0.0
    late_s: float = 0.05
    leaving: float = 0.0
    leave_s: float = 0.5
    made_up: float = 0.0

    @classmethod
    def drawn(cls, seed: int) -> Self:
        """Return a mixture of faults, the same for the same seed."""
        rng = random.Random(f"faults {seed}")
        return cls(
            kill_every_s=rng.choice([0.0, 2.0, 10.0, 60.0]),
            back_after_s=rng.choice([0.1, 1.0, 5.0]),
            slow_loads=rng.choice([0.0, 0.05, 0.3]),
            slow_by=rng.choice([3.0, 10.0, 50.0]),
            failing_loads=rng.choice([0.0, 0.02, 0.2]),
            late_messages=rng.choice([0.0, 0.01, 0.2]),
            late_s=rng.choice([0.01, 0.1, 1.0]),
            leaving=rng.choice([0.0, 0.0, 0.05]),
            made_up=rng.choice([0.0, 0.5, 1.0]),
        )

    def durations(self, shape: Shape, rng: random.Random) -> Durations:
        """Return how long everything takes in ``shape`` with these faults."""

        def load(model: str) -> Timing:
            if model.startswith(ONCE) and point_of(model) % 100 < 100 * self.made_up:
                return Timing(shape.load_s.low / 10, MISSING)
            seconds = shape.load_s.of(model)
            if self.slow_loads and rng.random() < self.slow_loads:
                seconds *= self.slow_by
            fails = self.failing_loads > 0.0 and rng.random() < self.failing_loads
            return Timing(seconds, BROKEN if fails else None, shape.model_bytes)

        def delay() -> float:
            late = self.late_messages > 0.0 and rng.random() < self.late_messages
            return self.late_s if late else shape.delay_s

        on_time = shape.delay_s
        return Durations(
            work_s=lambda model: shape.work_drawn(rng),
            load=load,
            unload_s=lambda model: shape.unload_s,
            delay_s=delay if self.late_messages else lambda: on_time,
        )

    def __bool__(self) -> bool:
        shares = self.slow_loads or self.failing_loads or self.late_messages or self.leaving or self.made_up
        return bool(self.kill_every_s or shares)

    def __str__(self) -> str:
        said = [
            (self.kill_every_s, f"a replica dies every {self.kill_every_s:g} s or so"),
            (self.slow_loads, f"{self.slow_loads:.0%} of loads take {self.slow_by:g} times as long"),
            (self.failing_loads, f"{self.failing_loads:.0%} of loads fail"),
            (self.late_messages, f"{self.late_messages:.0%} of messages take {self.late_s:g} s"),
            (self.leaving, f"{self.leaving:.0%} of clients leave"),
            (self.made_up, f"{self.made_up:.0%} of the models never asked for again do not exist"),
        ]
        return "; ".join(text for share, text in said if share) or "nothing goes wrong"
