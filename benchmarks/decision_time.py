"""What one event costs the scheduler, at 10 and at 1,000 replicas, with many models known.

Run: ``python benchmarks/decision_time.py [--events N]``. Prints microseconds per event for the hot path alone and
for a mix in which queues, wants, loads and evictions happen, and the bytes of memory per known model.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import tracemalloc
from bisect import bisect
from collections import deque
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.core import events as ev
from runtime.core.scheduler import Scheduler

PLACES = 5


class Feed:
    """A scheduler, its replicas as plain sets, and the events that a pool would send."""

    def __init__(self, replicas: int, models: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = [f"model-{number}" for number in range(models)]
        self.scheduler = Scheduler("bench", ev.SchedulerLimits())
        per_replica = max(1, models // replicas)
        self.resident: dict[str, dict[str, None]] = {}
        for index in range(replicas):
            held = self.names[index * per_replica : (index + 1) * per_replica]
            self.resident[f"r{index}"] = dict.fromkeys(held)
            statuses = tuple(ev.ModelStatus(name, "resident", 0.1) for name in held)
            summary = ev.Summary(free_slots=0, evictable=per_replica, coldness=index % 12)
            self.scheduler.handle(
                ev.ReplicaUp(f"r{index}", index, PLACES, per_replica, models=statuses, summary=summary), 0.0
            )
        weights = list(accumulate(1.0 / (rank + 1) for rank in range(models)))
        self.draws = [self.names[bisect(weights, self.random.random() * weights[-1])] for _ in range(65536)]
        self.even = [self.names[self.random.randrange(models)] for _ in range(65536)]
        self.pending: deque[ev.SchedulerEvent] = deque()
        self.running: deque[int] = deque()
        self.spent = 0.0
        self.count = 0
        self.request = 0
        self.now = 0.0

    def tell(self, event: ev.SchedulerEvent) -> None:
        """Hand over one event, timed, and note what a pool would answer."""
        started = time.perf_counter()
        effects = self.scheduler.handle(event, self.now)
        self.scheduler.deadline()
        self.spent += time.perf_counter() - started
        self.count += 1
        for effect in effects:
            if isinstance(effect, ev.Dispatch):
                self.running.append(effect.request)
            elif isinstance(effect, ev.Want):
                self._load(effect)
            elif isinstance(effect, ev.Unwant):
                self.pending.append(ev.WantWithdrawn(effect.replica, effect.model))

    def _load(self, want: ev.Want) -> None:
        held = self.resident[want.replica]
        if want.model in held:
            return
        victim = next(iter(held))
        del held[victim]
        held[want.model] = None
        self.pending.append(ev.ModelChanged(want.replica, ev.ModelStatus(victim, "absent")))
        self.pending.append(ev.ModelChanged(want.replica, ev.ModelStatus(want.model, "loading")))
        self.pending.append(ev.ModelChanged(want.replica, ev.ModelStatus(want.model, "resident", 0.1)))
        summary = ev.Summary(0, 0, len(held), 0, self.random.randrange(12), 0)
        self.pending.append(ev.SummaryChanged(want.replica, summary))

    def step(self, name: str, in_flight: int) -> None:
        self.now += 1e-4
        self.request += 1
        self.tell(ev.RequestArrived(self.request, name))
        for _ in range(min(4, len(self.pending))):
            self.tell(self.pending.popleft())
        while len(self.running) > in_flight:
            self.tell(ev.RequestFinished(self.running.popleft()))


def measure(replicas: int, models: int, events: int, *, fresh: float, skewed: bool) -> float:
    """Return microseconds per event; ``fresh``: the share of requests for models that nobody holds.

    ``skewed``: Zipf's law, so that the most asked-for models fill their holders, queue and get copies all the time.
    """
    feed = Feed(replicas, models, seed=replicas)
    in_flight = max(2, replicas * PLACES // 2)
    number = 0
    while feed.count < events:
        number += 1
        if feed.random.random() < fresh:
            name = f"fresh-{feed.random.randrange(models)}"
        else:
            draws = feed.draws if skewed else feed.even
            name = draws[number % len(draws)]
        feed.step(name, in_flight)
    return feed.spent / feed.count * 1e6


def bytes_per_model(models: int) -> float:
    """Return the memory that one more known model costs a router."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    feed = Feed(1000, models, seed=1)
    feed.draws.clear()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    arguments = parser.parse_args()
    print(f"{'replicas':>9} {'models':>8} {'warm us':>9} {'Zipf us':>9} {'5 % cold us':>12} {'30 % cold us':>13}")
    for replicas, models in ((10, 1_000), (1_000, 100_000)):
        mixes = [(0.0, False), (0.0, True), (0.05, True), (0.3, True)]
        costs = [measure(replicas, models, arguments.events, fresh=fresh, skewed=skewed) for fresh, skewed in mixes]
        print(f"{replicas:>9} {models:>8} {costs[0]:>9.2f} {costs[1]:>9.2f} {costs[2]:>12.2f} {costs[3]:>13.2f}")
    print(f"memory: {bytes_per_model(100_000):.0f} bytes per known model, names and benchmark lists included")


if __name__ == "__main__":
    main()
