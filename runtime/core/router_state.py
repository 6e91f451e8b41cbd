"""What a router's brain knows of one deployment, in one place: requests, queues, models, replicas, failures."""

from __future__ import annotations

from collections import OrderedDict

from runtime.core.decisions import Decisions
from runtime.core.events import Failure, SchedulerEffect, SchedulerLimits
from runtime.core.failures import FailureMemory
from runtime.core.models import Model, Queue, Waiting
from runtime.core.pool import Pool

Effects = list[SchedulerEffect]

MAX_RETRY_AFTER_S = 60.0


class Pace:
    """How many requests finish per second, over windows of ``WINDOW_S``."""

    WINDOW_S = 5.0

    def __init__(self) -> None:
        self.finished = 0  # since ``_since``
        self._since: float | None = None  # when the window began
        self._rate = 0.0  # in the window before

    def begin(self, now: float) -> None:
        """Begin to measure, if that has not begun."""
        if self._since is None:
            self._since = now

    def retry_after_s(self, ahead: int, now: float) -> float:
        """Return how long ``ahead`` requests take at the measured pace, between 0.1 and 60 s; 1 s unmeasured."""
        elapsed = now - self._since if self._since is not None else 0.0
        if elapsed >= self.WINDOW_S:
            self._rate = self.finished / elapsed
            self.finished = 0
            self._since = now
        rate = self._rate or (self.finished / elapsed if elapsed > 0 else 0.0)
        return min(MAX_RETRY_AFTER_S, max(0.1, ahead / rate)) if rate > 0 else 1.0


class RouterState:
    """The parts that the scheduler's rules share. It decides nothing."""

    def __init__(self, name: str, limits: SchedulerLimits, *, shared: bool) -> None:
        self.name = name
        self.limits = limits
        self.pool = Pool(shared=shared)
        self.requests: dict[int, Waiting] = {}  # not seen the end of
        self.models: dict[str, Model] = {}  # held, loading or waited for
        self.waiting: dict[Model, None] = {}  # models with a queue, the longest waiting first
        self.unkeyed = Queue()  # requests that need no resident model
        self.queued = 0
        self.arrivals = 0
        self.failures: FailureMemory[str] = FailureMemory()
        self.strikes: OrderedDict[str, int] = OrderedDict()
        self.failing: OrderedDict[Model, int] = OrderedDict()  # dispatched although their load failed there
        self.decisions = Decisions()
        self.down_since: float | None = None  # since when requests wait and no replica is up
        self.pace = Pace()

    def model(self, name: str) -> Model:
        """Return the record of a model, made if new."""
        model = self.models.get(name)
        if model is None:
            model = self.models[name] = Model(name)
        return model

    def slots_busy(self, name: str) -> Failure:
        text = f"no room for model {name!r}: what is pinned, hangs or serves a long request leaves none"
        return Failure("slots_busy", text, self.limits.drain_limit_s)
