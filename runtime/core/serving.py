"""Which request goes next to which replica, and which requests wait where."""

from __future__ import annotations

from runtime.core import ranking
from runtime.core.demands import Demands
from runtime.core.events import Dispatch, Fail, Failure
from runtime.core.models import Demand, Model, Queue, Waiting
from runtime.core.replica_view import ReplicaView
from runtime.core.ring import point_of
from runtime.core.router_state import Effects, RouterState


def queue_of(model: Model) -> Queue:
    """Return the queue of a model that is known to have one."""
    assert model.demand is not None
    return model.demand.queue


class Serving:
    """Queues requests by model and empties the queues, place by place."""

    def __init__(self, state: RouterState, demands: Demands) -> None:
        self._state = state
        self._demands = demands

    def wait(self, request: Waiting, now: float, out: Effects) -> None:
        """Queue a request that just arrived, or answer that it may not wait."""
        name = request.model
        keyed = name is not None and not self._state.pool.loose
        failure = self._may_not_wait(name if keyed else None, now)
        if failure is not None:
            self.fail(request, failure[0], failure[1], now, out)
            return
        self.enqueue(request, now, out)

    def enqueue(self, request: Waiting, now: float, out: Effects) -> None:
        """Put a request into its queue at its place, and see that something is under way for it."""
        request.view = None
        self._state.queued += 1
        if self._state.pool.deserted and self._state.down_since is None:
            self._state.down_since = now
        if request.model is None or self._state.pool.loose:
            self._state.unkeyed.add(request)
            return
        model = self._state.model(request.model)
        if model.demand is None:
            model.demand = Demand(now)
        demand = model.demand
        if not len(demand.queue):
            self._state.waiting[model] = None
            self._state.pool.note_waiting(model)
            demand.begin(now)
        demand.queue.add(request)
        if request.number == demand.queue.first and len(demand.queue) > 1:
            self._demands.aged(model, demand, now, out)
        self._demands.seek(model, now, out)

    def unqueue(self, request: Waiting, now: float, out: Effects) -> None:
        """Take a request out of its queue."""
        self._state.queued -= 1
        if not self._state.queued:
            self._state.down_since = None
        model = self._state.models.get(request.model) if request.model is not None else None
        if model is not None and model.demand is not None and request in model.demand.queue:
            model.demand.queue.remove(request)
            self.emptied(model, now, out)
        else:
            self._state.unkeyed.remove(request)

    def emptied(self, model: Model, now: float, out: Effects) -> None:
        """If nobody waits for ``model`` any more, release and take back; drop what is empty."""
        demand = model.demand
        if demand is not None:
            if len(demand.queue):
                return
            self._state.waiting.pop(model, None)
            self._demands.settle(model, demand, now, out)
        if model.demand is None and not (model.holders or model.loading):
            self._state.models.pop(model.name, None)

    def fail(self, request: Waiting, failure: Failure, case: int, now: float, out: Effects) -> None:
        self._state.requests.pop(request.id, None)
        self._state.decisions.note(now, case, request.model or "", failure.code, (), request.id)
        out.append(Fail(request.id, failure, case=case))

    def fail_all(self, model: Model, failure: Failure, case: int, now: float, out: Effects) -> None:
        """Answer everybody who waits for ``model``, once."""
        demand = model.demand
        if demand is None:
            return
        for request in demand.queue.all():
            demand.queue.remove(request)
            self._state.queued -= 1
            self.fail(request, failure, case, now, out)
        self.emptied(model, now, out)
        if not self._state.queued:
            self._state.down_since = None

    def serve(self, view: ReplicaView, now: float, out: Effects) -> None:
        """Fill the free places of a replica from the queues."""
        while self._state.queued and self._state.pool.room & view.bit:
            if not self._serve_one(view, now, out):
                return

    def _serve_one(self, view: ReplicaView, now: float, out: Effects) -> bool:
        model = view.last
        if model is not None and view.run < view.max_batch and self.servable(model, view):
            view.run += 1
            self.serve_model(model, view, 106, now, out)
            return True
        model = self._oldest_at(view)
        head = self._unkeyed_head(view)
        if head is not None and (model is None or head.number < queue_of(model).first):
            self.unqueue(head, now, out)
            self.dispatch(head, view, 108, now, out)
            return True
        if model is None:
            return False
        view.last = model
        view.run = 1
        self.serve_model(model, view, 107, now, out)
        return True

    def servable(self, model: Model, view: ReplicaView) -> bool:
        return model.demand is not None and len(model.demand.queue) > 0 and bool(model.holders & view.bit)

    def _oldest_at(self, view: ReplicaView) -> Model | None:
        """Return the model resident at ``view`` whose head has waited longest."""
        noted = view.awaited
        if not noted:
            return None
        waiting = self._state.waiting
        found = [model for model in noted if model in waiting]
        if len(found) < len(noted):
            for model in noted:
                if model not in waiting:
                    model.noted ^= view.bit
            view.awaited = dict.fromkeys(found)
        oldest: Model | None = None
        first = 0
        for model in found:
            number = queue_of(model).first
            if oldest is None or number < first:
                oldest, first = model, number
        return oldest

    def _unkeyed_head(self, view: ReplicaView) -> Waiting | None:
        if not len(self._state.unkeyed):
            return None
        head = self._state.unkeyed.head
        return head if self.pick_unkeyed(head, view.bit) is not None else None

    def serve_model(self, model: Model, view: ReplicaView, case: int, now: float, out: Effects) -> None:
        """Dispatch the head of a model's queue."""
        demand = model.demand
        assert demand is not None
        request = demand.queue.pop()
        demand.depart(now)
        self._state.queued -= 1
        self.dispatch(request, view, case, now, out)
        if len(demand.queue):
            self._demands.seek(model, now, out)
        else:
            self.emptied(model, now, out)

    def dispatch(self, request: Waiting, view: ReplicaView, case: int, now: float, out: Effects) -> None:
        self._state.pool.take(view)
        request.view = view
        out.append(Dispatch(request.id, view.id, request.model, now - request.arrived_at, case=case))

    def again(self, request: Waiting, now: float, out: Effects) -> None:
        """Send a request elsewhere, or queue it at the place of its arrival."""
        request.view = None
        pool = self._state.pool
        if request.model is None or pool.loose:
            chosen = self.pick_unkeyed(request, pool.room)
            if chosen is not None:
                self.dispatch(request, chosen[0], chosen[1], now, out)
                return
        else:
            model = self._state.models.get(request.model)
            among = model.holders & pool.room if model is not None else 0
            if model is not None and among:
                bit, case = ranking.holder(pool, among, model.point)
                self.dispatch(request, pool.view_of(bit), case, now, out)
                return
        self.enqueue(request, now, out)

    def pick_unkeyed(self, request: Waiting, among: int) -> tuple[ReplicaView, int] | None:
        """Return (replica, case) for a request that any of ``among`` may serve; a holder first, then the ring."""
        pool = self._state.pool
        if request.model is None:
            if not among:
                return None
            return pool.view_of(ranking.least_loaded(pool, among, self._state.arrivals)), 103
        model = self._state.models.get(request.model)
        held = model.holders & among if model is not None else 0
        if model is not None and held:
            return pool.view_of(ranking.holder(pool, held, model.point)[0]), 104
        among &= pool.loose
        if not among:
            return None
        return ranking.nearest(pool, among & pool.low or among, point_of(request.model)), 105

    def requeue_all(self, now: float, out: Effects) -> None:
        """Queue every waiting request anew, since whether its model must be resident has changed."""
        waiting = [request for request in self._state.requests.values() if request.view is None]
        for request in waiting:
            self.unqueue(request, now, out)
        for request in waiting:
            self.enqueue(request, now, out)

    def _may_not_wait(self, name: str | None, now: float) -> tuple[Failure, int] | None:
        """Return why a request may not wait, and the case."""
        limits = self._state.limits
        bound = limits.hard_queue_ceiling
        if limits.max_queued_requests >= 0:
            bound = min(bound, limits.max_queued_requests)
        if self._state.queued >= bound:
            text = f"{self._state.queued} requests wait for {self._state.name} already"
            return Failure("queue_full", text, self._state.pace.retry_after_s(self._state.queued, now)), 140
        if name is None:
            return None
        model = self._state.models.get(name)
        if model is not None and (model.holders or model.demand is not None):
            return None
        failure = self._state.failures.get(name, now)
        if failure is not None and not (model is not None and model.loading):
            return failure, 142
        if len(self._state.waiting) >= limits.max_waiting_models:
            text = f"requests for {len(self._state.waiting)} other models wait for {self._state.name} already"
            return Failure("too_many_models", text, self._state.pace.retry_after_s(len(self._state.waiting), now)), 141
        pool = self._state.pool
        if pool.up and not (pool.suspect or pool.up & ~pool.blocked):
            return self._state.slots_busy(name), 145
        return None
