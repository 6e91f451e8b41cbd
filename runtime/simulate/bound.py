"""Nobody waits for ever: how long a request may wait until its model is resident, held to at every step.

A cold want waits until a slot has been given to the models that were wanted before it, ``D``, and for its own turn.
A turn is the swap wait, then the time in which what is resident serves whoever claims it and then drains, a cleanup
and a load. ``R`` replicas take turns side by side, and wants are spread over them by number, not by age: of all ``N``
that are wanted when its own want is placed no more than its replica's share go before it, but of those that come back
older than it, ``B``, all may. So the bound is ``min(D + B + 1, ceil((N + 1) / R) + B) + 1`` turns, one of them for what
had begun before anybody waited. Time in which no replica had a slot to give does not count (such requests are failed
after ``drain_limit_s``), and a death, which loses what had begun, starts the count anew.
"""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING

from runtime.core.events import ReplicaLimits
from runtime.core.making_room import RESIDENCY
from runtime.core.models import Model
from runtime.simulate.longest import Longest
from runtime.simulate.rule import broken

if TYPE_CHECKING:
    from runtime.simulate.shells import Replica, Router

SERVING = ("resident", "draining")
MESSAGES = 6  # on their way, one after another, in one turn at the most


class Wait:
    """One model's wait at one router, for as long as the same request is at the head of its queue."""

    __slots__ = ("ahead", "back", "before", "everyone", "head", "model", "replicas", "since", "wanted_at")

    def __init__(self, model: str, head: int, wanted_at: float) -> None:
        self.model = model
        self.head = head  # its number of arrival,
        self.wanted_at = wanted_at  # and when it arrived
        self.before = 0.0  # seconds in which the model was nowhere resident, until it last was
        self.since: float | None = None  # since when it is nowhere resident, with a replica that could take it
        self.replicas = inf  # the fewest that could, so far
        self.ahead: int | None = None  # models that were wanted before it when they were counted; None: not yet
        self.everyone = 0  # models that were wanted besides it then, later ones too
        self.back = 0  # how often since then a model has come back that was wanted before it

    def seconds(self, now: float) -> float:
        return self.before + (now - self.since if self.since is not None else 0.0)

    def pause(self, now: float) -> None:
        self.before = self.seconds(now)
        self.since = None

    def restart(self, now: float) -> None:
        self.before = 0.0
        self.ahead = None
        self.since = now if self.since is not None else None

    def turns(self) -> int:
        assert self.ahead is not None
        return min(self.ahead + 1, ceil((self.everyone + 1) / self.replicas)) + self.back + 1


class Bound:
    """The waits of every router of a pool. ``longest`` is what has taken longest so far."""

    def __init__(self, limits: ReplicaLimits, routers: int, longest: Longest) -> None:
        self._limits = limits
        self._places = ceil(routers / limits.places)  # completions until every router had a place
        self._longest = longest
        self._waits: list[dict[Model, Wait]] = [{} for _ in range(routers)]
        self._wanted: dict[str, float] = {}  # models that are nowhere resident, and since when they are wanted

    def restart(self, now: float) -> None:
        """Count anew: a replica died with what it had begun, or one more came."""
        for waits in self._waits:
            for wait in waits.values():
                wait.restart(now)

    def turn_s(self) -> float:
        """Return how long a turn takes at the most, going by what has been seen."""
        longest = self._longest
        serving = max(RESIDENCY * longest.load_s, longest.work_s * (1 + self._places))
        return self._limits.swap_wait_s + serving + longest.unload_s + longest.load_s + MESSAGES * longest.delay_s

    def step(self, router: Router, replicas: dict[str, Replica], now: float) -> None:
        """Take note of what waits at ``router`` now. Raises ``InvariantBroken``."""
        self._note(router, now)
        waits = [wait for each in self._waits for wait in each.values() if wait.since is not None]
        wanted: dict[str, float] = {}
        for wait in waits:
            wanted[wait.model] = min(wait.wanted_at, wanted.get(wait.model, inf))
        came = {model: at for model, at in wanted.items() if at < self._wanted.get(model, inf)}
        self._wanted = wanted
        if not waits:
            return
        turn_s = self.turn_s()
        for wait in waits:
            if wait.ahead is None:
                self._count(wait, wanted, replicas)
            elif came:
                wait.back += self._before(wait, came)
            if wait.seconds(now) > wait.turns() * turn_s:
                broken("nobody waits longer than the bound", (wait.model, wait.seconds(now), wait.turns(), turn_s))

    def _note(self, router: Router, now: float) -> None:
        """Begin, go on with and end the waits of a router."""
        state = router.scheduler.state
        able = (state.pool.up & ~state.pool.blocked).bit_count()
        old, new = self._waits[router.number], {}
        for model in state.waiting:
            assert model.demand is not None
            head = model.demand.queue.head
            wait = old.get(model)
            if wait is None or wait.head != head.number:
                wait = Wait(model.name, head.number, head.arrived_at)
            new[model] = wait
            if model.holders or not able:
                wait.pause(now)
            else:
                wait.replicas = min(wait.replicas, able)
                wait.since = now if wait.since is None else wait.since
        self._waits[router.number] = new

    def _before(self, wait: Wait, wanted: dict[str, float]) -> int:
        """Return how many of ``wanted`` go before a wait. Ages are sent: a want seems younger by its message's time."""
        latest = wait.wanted_at + self._longest.delay_s
        return sum(at <= latest for model, at in wanted.items() if model != wait.model)

    def _count(self, wait: Wait, wanted: dict[str, float], replicas: dict[str, Replica]) -> None:
        """Count who is before a wait that begins, and what else is wanted."""
        taken = [model for model in _taken(replicas) if model != wait.model and model not in wanted]
        wait.ahead = len(taken) + self._before(wait, wanted)
        wait.everyone = len(taken) + len(wanted) - 1
        wait.back = 0


def _taken(replicas: dict[str, Replica]) -> dict[str, None]:
    """Return the models to which slots were given, or promised, without any router's queue."""
    taken: dict[str, None] = {}
    for replica in replicas.values():
        state = replica.residency.state
        for cache, wants in zip(state.caches, state.wants, strict=True):
            taken.update((model, None) for model, entry in cache.entries.items() if entry.state not in SERVING)
            taken.update((model, None) for model, want in wants.by_model.items() if want.preload is not None)
    return taken
