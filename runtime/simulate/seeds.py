"""Random pools under random traffic with random faults: one seed, one whole story, replayed by its number."""

from __future__ import annotations

import random
from dataclasses import dataclass

from runtime.core.eviction import POLICIES
from runtime.simulate.arrivals import Trace
from runtime.simulate.faults import Faults
from runtime.simulate.result import Result
from runtime.simulate.run import Run
from runtime.simulate.shape import Shape, Span
from runtime.simulate.synthetic import Mix, Synthetic


@dataclass(frozen=True, slots=True)
class Story:
    """What a seed stands for."""

    seed: int
    shape: Shape
    faults: Faults
    trace: Trace
    clients: int | None

    def run(self, *, check: bool = True) -> Result:
        """Run it. Raises ``InvariantBroken``."""
        return Run(self.shape, self.trace, clients=self.clients, seed=self.seed, faults=self.faults, check=check).run()

    def __str__(self) -> str:
        clients = f"{self.clients} clients" if self.clients is not None else "open loop"
        return f"seed {self.seed}: {self.trace.name}; {clients}\n{self.shape}\n{self.faults}"


def story(seed: int) -> Story:
    """Return the story of ``seed``."""
    rng = random.Random(f"story {seed}")
    shape = _shape(rng)
    mix = Mix(
        models=rng.choice([1, 3, 8, 20, 60]),
        exponent=rng.choice([0.0, 0.7, 1.0, 1.5]),
        hot=rng.choice([0.0, 0.0, 0.3]),
        scan=rng.choice([0.0, 0.0, 0.2]),
        drift=rng.choice([0, 0, 20]),
    )
    clients = rng.choice([None, None, 1, 4, 24])
    trace = Synthetic(mix, count=rng.choice([40, 120, 250]), rate=rng.choice([2.0, 30.0, 300.0]), seed=seed)
    faults = Faults.drawn(seed) if rng.random() < 0.7 else Faults()
    return Story(seed, shape, faults, trace, clients)


def _shape(rng: random.Random) -> Shape:
    return Shape(
        replicas=rng.choice([1, 2, 3, 5]),
        slots=rng.choice([1, 2, 4, -1]),
        places=rng.choice([1, 2, 5]),
        routers=rng.choice([1, 1, 2, 3]),
        max_batch=rng.choice([1, 1, 4]),
        max_bytes=rng.choice([None, None, 250]),
        max_queued_requests=rng.choice([-1, -1, -1, 10]),
        max_concurrent_loads=rng.choice([1, 2, 4]),
        eviction=rng.choice(sorted(POLICIES)),
        swap_wait_s=rng.choice([0.0, 0.2, 1.0]),
        drain_limit_s=rng.choice([0.5, 5.0, 30.0]),
        idle_unload_s=rng.choice([None, None, 0.3]),
        load_timeout_s=rng.choice([5.0, 300.0]),
        preload=rng.choice([(), ("0", "1")]),
        copies=rng.choice([None, 1]),
        load_s=Span(0.02, rng.choice([0.02, 0.2, 2.0])),
        work_s=Span(0.001, rng.choice([0.005, 0.05, 1.0])),
        unload_s=rng.choice([0.0, 0.0, 0.05]),
        model_bytes=rng.choice([0, 60, 100]),
    )


def replay_command(seed: int) -> str:
    """Return what to type to see a seed again."""
    return f"mux simulate --replay {seed}"
