"""What one event costs the scheduler, at 10 and at 1,000 replicas, with many models known.

``python -m benchmarks.decision_time [--events N] [--rounds N] [--warm-up N]`` prints microseconds per event for the
hot path alone and for mixes in which queues, wants, loads and evictions happen, the best of the rounds, how many loads
there were for each event, the ratio of the two sizes, and the bytes of memory per known model.

Pools of both sizes are first warmed up with as many requests per place, so that what is measured is how they run.
``--warm-up 0`` measures how the copies of popular models come to be: many more loads where there are more replicas.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import tracemalloc
from bisect import bisect
from collections import Counter, deque
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.core import events as ev
from runtime.core.scheduler import Scheduler

PLACES = 5
SIZES = ((10, 1_000), (1_000, 100_000))  # replicas, models
MIXES = {"warm": (0.0, False), "Zipf": (0.0, True), "5 % cold": (0.05, True), "30 % cold": (0.3, True)}


class Cost(NamedTuple):
    """Of one mix, per event."""

    us: float
    loads: float


class Feed:
    """A scheduler, its replicas as plain dicts (least recently used first), and the events that a pool would send."""

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
        self.running: deque[ev.Dispatch] = deque()
        self.in_use: Counter[tuple[str, str]] = Counter()  # (replica, model): such a model is not evicted
        self.loads = 0
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
                self.running.append(effect)
                self._begin(effect)
            elif isinstance(effect, ev.Want):
                self._load(effect)
            elif isinstance(effect, ev.Unwant):
                self.pending.append(ev.WantWithdrawn(effect.replica, effect.model))

    def _begin(self, dispatch: ev.Dispatch) -> None:
        model, held = dispatch.model or "", self.resident[dispatch.replica]
        self.in_use[dispatch.replica, model] += 1
        if model in held:
            del held[model]
            held[model] = None

    def _finish(self, dispatch: ev.Dispatch) -> None:
        self.in_use[dispatch.replica, dispatch.model or ""] -= 1
        self.tell(ev.RequestFinished(dispatch.request))

    def _load(self, want: ev.Want) -> None:
        held = self.resident[want.replica]
        if want.model in held:
            return
        victim = next(model for model in held if not self.in_use[want.replica, model])
        self.loads += 1
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
            self._finish(self.running.popleft())


def measure(replicas: int, models: int, events: int, *, fresh: float, skewed: bool, warm_up: int) -> Cost:
    """Return what an event costs; ``fresh``: the share of requests for models that nobody holds.

    ``skewed``: Zipf's law, so that the most asked-for models fill their holders, queue and get copies all the time.
    """
    feed = Feed(replicas, models, seed=replicas)
    places = replicas * PLACES
    number = 0

    def step() -> None:
        nonlocal number
        number += 1
        if feed.random.random() < fresh:
            name = f"fresh-{number}"
        else:
            draws = feed.draws if skewed else feed.even
            name = draws[number % len(draws)]
        feed.step(name, max(2, places // 2))

    while number < warm_up * places:
        step()
    feed.spent, feed.count, feed.loads = 0.0, 0, 0
    while feed.count < events:
        step()
    return Cost(feed.spent / feed.count * 1e6, feed.loads / feed.count)


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
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=20, help="requests per place before anything is measured")
    arguments = parser.parse_args()
    print("| replicas × models | " + " | ".join(MIXES) + " |\n|---|" + "---|" * len(MIXES))
    best: dict[tuple[int, str], Cost] = {}
    for _ in range(arguments.rounds):
        for replicas, models in SIZES:
            for name, (fresh, skewed) in MIXES.items():
                cost = measure(
                    replicas, models, arguments.events, fresh=fresh, skewed=skewed, warm_up=arguments.warm_up
                )
                best[replicas, name] = min(cost, best.get((replicas, name), cost))
    for replicas, models in SIZES:
        cells = [f"{best[replicas, name].us:.2f} µs, {best[replicas, name].loads:.1%}" for name in MIXES]
        print(f"| {replicas:,} × {models:,} | " + " | ".join(cells) + " |")
    ratios = [f"{best[SIZES[1][0], name].us / best[SIZES[0][0], name].us:.2f}" for name in MIXES]
    print(f"| ratio | {' | '.join(ratios)} |")
    print(f"memory: {bytes_per_model(100_000):.0f} bytes per known model, names and benchmark lists included")


if __name__ == "__main__":
    main()
