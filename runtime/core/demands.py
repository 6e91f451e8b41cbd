"""The wants of a router: placing, joining, moving, copying, taking back and releasing them."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from itertools import islice

from runtime.core import ranking
from runtime.core.decisions import Decisions
from runtime.core.events import Expect, Release, SchedulerEffect, Unwant, Want, WantKind
from runtime.core.failures import FailureMemory
from runtime.core.models import Bid, Demand, Model
from runtime.core.pool import Pool
from runtime.core.replica_view import ReplicaView

Effects = list[SchedulerEffect]

PATIENCE_S = 0.25  # the least time that a want stays where it is before a look for a better replica
MAX_PATIENCE_S = 30.0
PULLED_FROM = 64  # of the models that wait longest, how many are looked at when a replica could start one
MOVES = 4  # of a want to where it could start, until it stays in its turn: others may be there first each time
SPARE_FROM = 8  # of the models that a replica has held longest, how many are looked at for one to spare
TOLD = 8  # replicas, from which on a load elsewhere is no reason to keep a model
DEFAULT_LOAD_S = 1.0  # before any load was measured


class Demands:
    """One router's wants. Each ends exactly once: resident, failed, withdrawn, or with its replica."""

    def __init__(
        self, pool: Pool, failures: FailureMemory[str], decisions: Decisions, failing: Mapping[Model, int]
    ) -> None:
        self._pool = pool
        self._failures = failures
        self._decisions = decisions
        self._failing = failing
        self._looks: list[tuple[float, int, Model]] = []  # when which demand is looked at again
        self._count = 0
        self.mean_load_s = 0.0

    # --- time -------------------------------------------------------------------------------------------

    def load_s(self, model: Model) -> float:
        """Return the measured load time of a model, else the mean of all, else a guess."""
        return model.load_s or self.mean_load_s or DEFAULT_LOAD_S

    def measured(self, model: Model, load_s: float) -> None:
        model.load_s = load_s
        self.mean_load_s += (load_s - self.mean_load_s) * (0.125 if self.mean_load_s else 1.0)

    def look_at(self, model: Model, demand: Demand, when: float) -> None:
        """Schedule a look at a demand, unless an earlier one is."""
        if demand.check_at and demand.check_at <= when:
            return
        demand.check_at = when
        self._count += 1
        heappush(self._looks, (when, self._count, model))

    def due(self) -> float | None:
        """Return when the next look is due."""
        while self._looks:
            when, _, model = self._looks[0]
            if model.demand is not None and model.demand.check_at == when:
                return when
            heappop(self._looks)
        return None

    def ripe(self, now: float) -> list[Model]:
        """Return the models whose look is due, each once."""
        found: list[Model] = []
        while (when := self.due()) is not None and when <= now:
            model = heappop(self._looks)[2]
            assert model.demand is not None
            model.demand.check_at = 0.0
            found.append(model)
        return found

    # --- placing ----------------------------------------------------------------------------------------

    def seek(self, model: Model, now: float, out: Effects) -> None:
        """See that something is under way for a model with waiting requests and no holder for them."""
        demand = model.demand
        if demand is None or not len(demand.queue):
            return
        if model.holders:
            self.consider_copy(model, demand, now, out)
            return
        if demand.cold is not None:
            return
        if demand.copy is not None and not demand.copy.withdrawing:
            self._promote(model, demand, now, out)
            return
        never = demand.stranded_at | (demand.copy.view.bit if demand.copy is not None else 0)
        under_way = model.loading & self._pool.up & ~self._pool.blocked & ~never
        if under_way:
            view = self._pool.view_of(under_way & -under_way)
            self._bid(model, demand, view, "cold", 125, now, out)
            return
        home = ranking.home(self._pool, model.point, avoid=self._failures.where(model.name), never=never)
        if home is not None:
            self._bid(model, demand, home, "cold", 120, now, out)

    def _promote(self, model: Model, demand: Demand, now: float, out: Effects) -> None:
        """Turn the want for a copy into the cold one: the last holder has gone."""
        bid = demand.copy
        assert bid is not None
        demand.copy = None
        self._pool.bid(bid.view, -1)
        self._bid(model, demand, bid.view, "cold", 125, now, out)

    def _bid(
        self,
        model: Model,
        demand: Demand,
        view: ReplicaView,
        kind: WantKind,
        case: int,
        now: float,
        out: Effects,
    ) -> None:
        bid = Bid(view, now)
        self._pool.bid(view, +1)
        spare = None
        if kind == "cold":
            demand.cold = bid
            demand.patience_s = min(MAX_PATIENCE_S, max(PATIENCE_S, self.load_s(model), 2 * demand.patience_s))
            self.look_at(model, demand, now + demand.patience_s)
        else:
            demand.copy = bid
            spare = self._spare(view, model)
        self._want(model, demand, view, kind, spare, case, now, out)
        self._decisions.note(now, case, model.name, view.id, ranking.candidates(self._pool, view))

    @staticmethod
    def _want(
        model: Model, demand: Demand, view: ReplicaView, kind: WantKind, spare: str | None, case: int, now: float,
        out: Effects,
    ) -> None:  # fmt: skip
        age_s = now - demand.queue.head.arrived_at
        out.append(Want(view.id, model.name, kind, age_s, len(demand.queue), spare, case=case))

    def aged(self, model: Model, demand: Demand, now: float, out: Effects) -> None:
        """Say anew how old the cold want is: a request that had left the queue is at its head again."""
        bid = demand.cold
        if bid is not None and not bid.withdrawing and model.name not in bid.view.loading:
            self._want(model, demand, bid.view, "cold", None, 133, now, out)

    def _spare(self, view: ReplicaView, model: Model) -> str | None:
        """Return a model that ``view`` may give up for a copy, since another replica has it and nobody waits."""
        for name, other in islice(view.models.items(), SPARE_FROM):
            if other.sole is None and other.demand is None and other is not model:
                return name
        return None

    def consider_copy(self, model: Model, demand: Demand, now: float, out: Effects) -> None:
        """Want one more copy if the queue will outlast a load, or has stood for as long as one takes."""
        if (
            demand.copy is not None
            or now < demand.copy_after
            or model in self._failing
            or model.loading.bit_count() >= model.holders.bit_count()
        ):
            return
        load_s = self.load_s(model)
        if now < demand.busy_since + load_s and demand.expected_wait_s(now) <= load_s:
            self.look_at(model, demand, demand.busy_since + load_s)
            return
        taken = model.holders | model.loading | self._failures.where(model.name) | demand.stranded_at
        if demand.cold is not None:
            taken |= demand.cold.view.bit
        view = ranking.copy_home(self._pool, model.point, taken)
        if view is None:
            demand.copy_after = now + max(PATIENCE_S, load_s)
            self.look_at(model, demand, demand.copy_after)
            return
        self._bid(model, demand, view, "copy", 121, now, out)

    # --- moving and taking back -------------------------------------------------------------------------

    def withdraw(self, model: Model, bid: Bid, case: int, now: float, out: Effects) -> None:
        """Take a want back. One that had not started ends with the replica's answer, any other at once."""
        if bid.withdrawing:
            return
        out.append(Unwant(bid.view.id, model.name, case=case))
        self._decisions.note(now, case, model.name, bid.view.id)
        bid.withdrawing = True
        if model.name in bid.view.loading and model.demand is not None:
            self.end(model.demand, bid)

    def strand(self, model: Model, demand: Demand, bid: Bid, now: float, out: Effects) -> None:
        """Take a want back from a suspect, and do not wait for its answer before another replica is asked."""
        self.withdraw(model, bid, 132, now, out)
        demand.strand(bid)

    def end(self, demand: Demand, bid: Bid) -> None:
        """Forget a want that was answered, one way or another."""
        demand.end(bid)
        self._pool.bid(bid.view, -1)

    def look(self, model: Model, now: float, out: Effects) -> None:
        """Look again at a demand whose time has come."""
        demand = model.demand
        if demand is None or not len(demand.queue):
            return
        bid = demand.cold
        if bid is None or bid.withdrawing:
            self.seek(model, now, out)
            return
        if model.name not in bid.view.loading and ranking.better(
            self._pool, bid.view, self._failures.where(model.name)
        ):
            self.withdraw(model, bid, 127, now, out)
            return
        demand.patience_s = min(MAX_PATIENCE_S, 2 * demand.patience_s)
        self.look_at(model, demand, now + demand.patience_s)

    def pull(self, view: ReplicaView, waiting: dict[Model, None], now: float, out: Effects) -> None:
        """Take back the oldest unstarted wants that wait elsewhere and that ``view`` could start now.

        Where it has a slot free, also those that wait for an idle model to go: nobody has to.
        """
        spare = view.ready_for - max(0, view.bids - len(view.loading))  # less what this router wants there already
        free = min(spare, view.summary.free_slots - view.summary.wants)
        if spare <= 0 or not (self._pool.pressed or free > 0):
            return
        movable: list[tuple[int, Model, Bid]] = []
        able: dict[int, int] = {}  # how many unstarted wants each of the others could start, less those already seen
        for model in islice(waiting, PULLED_FROM):
            bid = model.demand.cold if model.demand is not None else None
            if bid is None or bid.view is view or not self._movable(model, bid):
                continue
            left = able.get(bid.view.bit)
            if left is None:
                left = bid.view.startable(bid.view.bids - len(bid.view.loading), evicting=free <= 0)
            able[bid.view.bit] = left - 1
            if left <= 0 and not model.holders and not self._failures.where(model.name) & view.bit:
                assert model.demand is not None
                movable.append((model.demand.queue.head.number, model, bid))
        for _, model, bid in sorted(movable, key=lambda item: item[0])[: free if free > 0 else spare]:
            self._move(model, bid, now, out)

    def push(self, view: ReplicaView, waiting: dict[Model, None], now: float, out: Effects) -> None:
        """Take back the youngest wants that wait at ``view``, as published, although others could start them now."""
        pool = self._pool
        others = pool.able & pool.vacant & pool.up & ~(view.bit | pool.blocked)
        if not (view.summary.wants and view.bids and others):
            return
        free = others & pool.slack
        others = free or others
        unstarted: list[tuple[Model, Bid]] = []
        for model in islice(waiting, PULLED_FROM):
            bid = model.demand.cold if model.demand is not None else None
            if bid is not None and bid.view is view and self._movable(model, bid):
                unstarted.append((model, bid))
        over = len(unstarted) - max(0, view.startable(len(unstarted), evicting=not free))
        if over <= 0:
            return
        movable = [(m, b) for m, b in unstarted if not m.holders and others & ~self._failures.where(m.name)]
        most = sum(other.ready_for for other in pool.each(others))  # at least one
        for model, bid in movable[-min(over, most) :]:
            self._move(model, bid, now, out)

    @staticmethod
    def _movable(model: Model, bid: Bid) -> bool:
        """Return whether a want has not started and may be taken back to move once more."""
        assert model.demand is not None
        return model.demand.moves < MOVES and not bid.withdrawing and model.name not in bid.view.loading

    def _move(self, model: Model, bid: Bid, now: float, out: Effects) -> None:
        """Take a want back because another replica could start it now."""
        assert model.demand is not None
        model.demand.moves += 1
        self.withdraw(model, bid, 122, now, out)

    def foretell(self, model: Model, view: ReplicaView, out: Effects) -> None:
        """Tell the other replicas when the load that began at ``view`` ends, unless that is but a guess.

        In a large pool too few clients return to each.
        """
        others = self._pool.up & ~view.bit
        if others.bit_count() < TOLD and (model.load_s or self.mean_load_s):
            for other in self._pool.each(others):
                out.append(Expect(other.id, self.load_s(model), case=129))

    def settle(self, model: Model, demand: Demand, now: float, out: Effects) -> None:
        """Release and take back what is no longer needed once nobody waits; drop what is empty."""
        if demand.claims:
            for view in self._pool.each(demand.claims):
                out.append(Release(view.id, model.name, case=130))
            demand.claims = 0
        for bid in (demand.cold, demand.copy):
            if bid is not None:
                self.withdraw(model, bid, 123, now, out)
        if demand.idle:
            model.demand = None
