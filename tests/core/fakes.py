"""A replica and a router without any shell: tests hand over events and read effects; every step is checked."""

from __future__ import annotations

from typing import TypeVar

from runtime.core import events as ev
from runtime.core.events import (
    Failure,
    Key,
    ModelState,
    ModelStatus,
    ReplicaLimits,
    ResidencyEffect,
    ResidencyEvent,
    SchedulerEffect,
    SchedulerEvent,
    SchedulerLimits,
    Summary,
)
from runtime.core.residency import Residency
from runtime.core.scheduler import Scheduler
from runtime.simulate.invariants import ResidencyWatch, SchedulerWatch

E = TypeVar("E")
BROKEN = Failure("model_load_failed", "boom")


def key(model: str, cache: int = 0) -> Key:
    return Key(cache, model)


class Replica:
    """A residency with a hand-wound clock; ``log`` holds every effect so far."""

    def __init__(self, **limits: object) -> None:
        self.residency = Residency(ReplicaLimits(**limits))  # type: ignore[arg-type]
        self.watch = ResidencyWatch(self.residency)
        self.now = 100.0
        self.log: list[ResidencyEffect] = []
        self._waiters = 0

    def do(self, event: ResidencyEvent, after: float = 0.0) -> list[ResidencyEffect]:
        """Hand over ``event`` ``after`` seconds; wake at every deadline on the way. Returns its effects."""
        self.pass_time(after)
        return self._step(event)

    def _step(self, event: ResidencyEvent) -> list[ResidencyEffect]:
        effects = self.residency.handle(event, self.now)
        self.watch.step(event, effects, self.now)
        self.log += effects
        return effects

    def pass_time(self, seconds: float) -> list[ResidencyEffect]:
        """Let time pass, waking when asked to; return what was done on the way."""
        end = self.now + seconds
        before = len(self.log)
        while (due := self.residency.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self._step(ev.Woken())
        self.now = end
        return self.log[before:]

    def want(self, model: str, link: int = 0, age_s: float = 0.0, kind: ev.WantKind = "cold") -> list[ResidencyEffect]:
        return self.do(ev.Wanted(link, model, kind, age_s, 1))

    def load(self, model: str, link: int = 0, load_s: float = 0.1, size_bytes: int = 0) -> None:
        """Make a model resident without a claim."""
        self.want(model, link)
        self.do(ev.Loaded(key(model), size_bytes), after=load_s)
        self.do(ev.Released(link, model))

    def offer(self, request: object, model: str | None, link: int = 0) -> ResidencyEffect:
        """Offer a request; return its answer."""
        effects = self.do(ev.Offered(link, request, model))  # type: ignore[arg-type]
        return next(effect for effect in effects if isinstance(effect, (ev.Admit, ev.Refuse)))

    def use(self, model: str, times: int = 1, seconds: float = 0.0) -> None:
        """Run requests of a resident model to their end."""
        for number in range(times):
            request = ("use", model, self.now, number)
            assert isinstance(self.offer(request, model), ev.Admit)
            self.do(ev.Ended(request), after=seconds)

    def ask(self, model: str, request: object = None, cache: int = 0) -> tuple[int, list[ResidencyEffect]]:
        self._waiters += 1
        return self._waiters, self.do(ev.Asked(self._waiters, request, key(model, cache)))  # type: ignore[arg-type]

    def state(self, model: str, cache: int = 0) -> ModelState:
        entry = self.residency.state.entry(key(model, cache))
        return entry.state if entry is not None else "absent"

    @property
    def resident(self) -> list[str]:
        return [k.model for k, status, _, _ in self.residency.models() if status.state == "resident"]


class Router:
    """A scheduler with a hand-wound clock."""

    def __init__(self, *, routers: int = 1, router: str = "router-0", **limits: object) -> None:
        self.scheduler = Scheduler("d", SchedulerLimits(**limits), router=router, routers=routers)  # type: ignore[arg-type]
        self.watch = SchedulerWatch(self.scheduler)
        self.now = 100.0
        self.log: list[SchedulerEffect] = []
        self._requests = 0

    def do(self, event: SchedulerEvent, after: float = 0.0) -> list[SchedulerEffect]:
        self.pass_time(after)
        return self._step(event)

    def _step(self, event: SchedulerEvent) -> list[SchedulerEffect]:
        effects = self.scheduler.handle(event, self.now)
        self.watch.step(event, effects, self.now)
        self.log += effects
        return effects

    def pass_time(self, seconds: float) -> list[SchedulerEffect]:
        end = self.now + seconds
        before = len(self.log)
        while (due := self.scheduler.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self._step(ev.Woken())
        self.now = end
        return self.log[before:]

    def up(
        self, replica: str, index: int = 0, *, held: tuple[str, ...] = (), **fields: object
    ) -> list[SchedulerEffect]:
        """Connect a replica; by default one of 5 places and 3 slots that are free as far as ``held`` leaves them."""
        slots = int(fields.pop("slots", 3))  # type: ignore[call-overload]
        summary = fields.pop("summary", Summary(free_slots=slots - len(held), evictable=len(held)))
        models = tuple(ModelStatus(model, "resident", 0.1) for model in held)
        places = fields.pop("places", 5)
        return self.do(ev.ReplicaUp(replica, index, places, slots, models=models, summary=summary, **fields))  # type: ignore[arg-type]

    def arrive(self, model: str | None, *, replayable: bool = True) -> tuple[int, list[SchedulerEffect]]:
        self._requests += 1
        return self._requests, self.do(ev.RequestArrived(self._requests, model, replayable))

    def publish(self, replica: str, model: str, state: ModelState, load_s: float = 0.1) -> list[SchedulerEffect]:
        return self.do(ev.ModelChanged(replica, ModelStatus(model, state, load_s)))

    def fails(self, replica: str, model: str, failure: Failure = BROKEN) -> list[SchedulerEffect]:
        return self.do(ev.ModelChanged(replica, ModelStatus(model, "failed", failure=failure)))

    def summary(self, replica: str, **fields: int) -> list[SchedulerEffect]:
        return self.do(ev.SummaryChanged(replica, Summary(**fields)))


def of(kind: type[E], effects: object) -> list[E]:
    """Return the effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]  # type: ignore[attr-defined]
