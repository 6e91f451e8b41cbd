"""What a router makes of a replica's words about its models: loading, resident, gone, failed, want withdrawn."""

from __future__ import annotations

from runtime.core import events as ev
from runtime.core.demands import Demands
from runtime.core.events import Failure
from runtime.core.models import Bid, Model
from runtime.core.replica_view import ReplicaView
from runtime.core.router_state import Effects, RouterState
from runtime.core.serving import Serving

MAX_FAILING = 1024  # models that are dispatched although their load failed, so that user code sees the error


class News:
    """Keeps the holders of every model as published, and serves its waiting requests accordingly."""

    def __init__(self, state: RouterState, demands: Demands, serving: Serving) -> None:
        self._state = state
        self._demands = demands
        self._serving = serving

    def model_changed(self, event: ev.ModelChanged, now: float, out: Effects) -> None:
        view = self._state.pool.by_id.get(event.replica)
        if view is None:
            return
        status = event.status
        if status.state in ("loading", "fetching") and status.failure is None:
            self._model_loading(view, status, now, out)
            return
        busy = max(len(view.loading), view.bids)
        if status.failure is not None:
            self._model_failed(view, status.model, status.failure, now, out)
        elif status.state == "resident":
            self._model_resident(view, status, now, out)
        else:
            model = self._state.models.get(status.model)
            if model is not None:
                self._loads_no_more(model, view)
                self.gone(model, view, now, out)
        freed = busy > max(len(view.loading), view.bids)
        if freed and busy >= view.max_loads and view.able and not view.draining:  # a permit: no summary tells of it
            self._demands.pull(view, self._state.waiting, now, out)

    def _model_loading(self, view: ReplicaView, status: ev.ModelStatus, now: float, out: Effects) -> None:
        model = self._state.model(status.model)
        model.loading |= view.bit
        demand = model.demand
        if status.state == "loading":
            view.fetching.pop(model.name, None)
            view.loading[model.name] = model
            self._state.pool.loads(view)
        else:
            view.fetching[model.name] = model
        if demand is None:
            return
        bid = demand.bid_at(view)
        if bid is not None and bid.withdrawing and status.state == "loading":
            self._demands.end(demand, bid)
            able = self._state.pool.able & self._state.pool.slack & self._state.pool.up
            if able:  # one of them may have been what the want was taken back for: another may move there
                self._demands.pull(self._state.pool.view_of(able & -able), self._state.waiting, now, out)
        for other in (demand.cold, demand.copy):
            if other is not None and other.view is not view and self._one_too_many(model, other):
                self._demands.withdraw(model, other, 124, now, out)
        if status.state == "loading" and len(demand.queue):
            self._demands.foretell(model, view, out)
        self._serving.emptied(model, now, out)
        self._demands.seek(model, now, out)

    def _loads_no_more(self, model: Model, view: ReplicaView) -> None:
        """Note that nothing is under way for a model at a replica."""
        model.loading &= ~view.bit
        view.fetching.pop(model.name, None)
        if view.loading.pop(model.name, None) is not None:
            self._state.pool.loads(view)

    @staticmethod
    def _one_too_many(model: Model, bid: Bid) -> bool:
        """Return whether the loads elsewhere make a want superfluous: there are as many as copies, or there is one."""
        if not model.holders:
            return True
        return model.loading.bit_count() >= model.holders.bit_count() and model.name not in bid.view.loading

    def _model_resident(self, view: ReplicaView, status: ev.ModelStatus, now: float, out: Effects) -> None:
        model = self._state.model(status.model)
        self._loads_no_more(model, view)
        if status.load_s:
            self._demands.measured(model, status.load_s)
        self._state.failures.forget(model.name)
        self._state.strikes.pop(model.name, None)
        demand = model.demand
        bid = demand.bid_at(view) if demand is not None else None
        if demand is not None and bid is not None:
            self._demands.end(demand, bid)
        if view.draining:
            self._serving.emptied(model, now, out)
            self._demands.seek(model, now, out)
            return
        model.hold(view)
        view.models[model.name] = model
        if model in self._state.failing:
            self._state.failing[model] &= ~view.bit
            self._forget_failing(model, now, out)
            self._state.failing.pop(model, None)
        if demand is None:
            return
        self._state.pool.note_waiting(model)
        if model.holders == view.bit:
            demand.begin(now)
        if bid is not None and not bid.withdrawing:
            demand.claims |= view.bit
        if demand.cold is not None:
            self._demands.withdraw(model, demand.cold, 124, now, out)
        while len(demand.queue) and self._state.pool.room & view.bit:
            self._serving.serve_model(model, view, 109, now, out)
        self._serving.emptied(model, now, out)
        self._demands.seek(model, now, out)

    def _model_failed(self, view: ReplicaView, name: str, failure: Failure, now: float, out: Effects) -> None:
        model = self._state.model(name)
        self._loads_no_more(model, view)
        demand = model.demand
        if demand is not None:
            bid = demand.bid_at(view)
            if bid is not None:
                self._demands.end(demand, bid)
        if failure.code == "slots_busy":
            self._serving.emptied(model, now, out)
            self._demands.seek(model, now, out)
            return
        if failure.code != "model_unloaded":
            failure = self._state.failures.remember(name, failure, now, where=view.bit)
        if view.models.pop(name, None) is not None:
            model.leave(view, self._state.pool)
        held = model.holders & ~self._state.failing.get(model, 0)
        if held or model.loading or (demand is not None and demand.cold is not None):
            self._demands.seek(model, now, out)
        elif self._state.limits.dispatch_failed and not view.draining:
            self._serve_failing(model, view, now, out)
        else:
            self._serving.fail_all(model, failure, 143, now, out)
        self._serving.emptied(model, now, out)

    def _serve_failing(self, model: Model, view: ReplicaView, now: float, out: Effects) -> None:
        """Send the waiting requests to the replica that remembers the failure: user code sees it there."""
        model.hold(view)
        self._state.pool.note_waiting(model)
        view.models[model.name] = model
        self._state.failing[model] = self._state.failing.pop(model, 0) | view.bit
        if len(self._state.failing) > MAX_FAILING:
            self._forget_failing(next(iter(self._state.failing)), now, out)
        while self._serving.servable(model, view) and self._state.pool.room & view.bit:
            self._serving.serve_model(model, view, 110, now, out)

    def _forget_failing(self, model: Model, now: float, out: Effects) -> None:
        for view in self._state.pool.each(self._state.failing.get(model, 0)):
            self.gone(model, view, now, out)

    def gone(self, model: Model, view: ReplicaView, now: float, out: Effects) -> None:
        """Note that a replica does not hold a model any more, and that no claim on it is left there."""
        view.models.pop(model.name, None)
        if view.last is model:
            view.last = None
        model.leave(view, self._state.pool)
        failing = self._state.failing.pop(model, 0) & ~view.bit
        if failing:
            self._state.failing[model] = failing
        if model.demand is not None and model.demand.claims & view.bit:
            model.demand.claims &= ~view.bit
            out.append(ev.Release(view.id, model.name, case=128))
        self._serving.emptied(model, now, out)
        self._demands.seek(model, now, out)
