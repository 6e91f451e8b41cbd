"""What a router makes of replicas that come, drain, die, fill up or offer a place."""

from __future__ import annotations

from runtime.core import events as ev
from runtime.core.demands import Demands
from runtime.core.events import Dispatch, Failure
from runtime.core.models import Model, Waiting
from runtime.core.news import News
from runtime.core.replica_view import ReplicaView
from runtime.core.router_state import MAX_RETRY_AFTER_S, Effects, RouterState
from runtime.core.serving import Serving

STRIKES = 2  # deaths of a replica while it loaded a model, after which the model fails fast
STRIKE_BASE_S = 5.0
MAX_STRUCK = 1024


class Fleet:
    """Keeps the pool of replicas, and moves what waited or ran at one that is gone."""

    def __init__(self, state: RouterState, demands: Demands, serving: Serving, news: News) -> None:
        self._state = state
        self._demands = demands
        self._serving = serving
        self._news = news

    def replica_up(self, event: ev.ReplicaUp, now: float, out: Effects) -> None:
        if event.replica in self._state.pool.by_id:
            self.replica_down(ev.ReplicaDown(event.replica), now, out)
        self._state.pace.begin(now)
        was_loose = self._state.pool.loose
        view = self._state.pool.add(event, loose=event.caches != 1 or not self._state.limits.load_early)
        self._welcome(view, event.models, was_loose, now, out)

    def _welcome(
        self, view: ReplicaView, models: tuple[ev.ModelStatus, ...], was_loose: int, now: float, out: Effects
    ) -> None:
        """Use a replica that can be chosen from now on, and what it holds."""
        self._state.down_since = None
        for status in models:
            self._news.model_changed(ev.ModelChanged(view.id, status), now, out)
        if bool(was_loose) != bool(self._state.pool.loose):
            self._serving.requeue_all(now, out)
        self._demands.pull(view, self._state.waiting, now, out)
        for model in list(self._state.waiting):
            self._demands.seek(model, now, out)
        self._serving.serve(view, now, out)

    def replica_draining(self, event: ev.ReplicaDraining, now: float, out: Effects) -> None:
        view = self._state.pool.by_id.get(event.replica)
        if view is not None:
            self.drain(view, now, out)

    def drain(self, view: ReplicaView, now: float, out: Effects) -> None:
        """Take a replica out of every choice for good; its unstarted wants come back and go elsewhere."""
        suspect = self._state.pool.suspect & view.bit
        if view.draining and not suspect:
            return
        self._state.pool.suspect ^= suspect
        was_loose = self._shut_out(view, now, out)
        for model in list(self._state.waiting):
            bid = model.demand.bid_at(view) if model.demand is not None else None
            if bid is not None and model.demand is not None:
                self._demands.withdraw(model, bid, 126, now, out)
                self._demands.seek(model, now, out)
        self._after_loss(was_loose, now, out)

    def replica_suspected(self, event: ev.ReplicaSuspected, now: float, out: Effects) -> None:
        """Ask others for what had not started there; a load under way and who waits for it stay."""
        view = self._state.pool.by_id.get(event.replica)
        if view is None or view.draining:
            return
        self._state.pool.suspect |= view.bit
        was_loose = self._shut_out(view, now, out)
        for model in list(self._state.models.values()):
            demand = model.demand
            bid = demand.bid_at(view) if demand is not None else None
            if demand is not None and bid is not None and model.name not in view.loading:
                self._demands.strand(model, demand, bid, now, out)
                self._demands.seek(model, now, out)
        self._after_loss(was_loose, now, out)

    def replica_trusted(self, event: ev.ReplicaTrusted, now: float, out: Effects) -> None:
        view = self._state.pool.by_id.get(event.replica)
        if view is None or not self._state.pool.suspect & view.bit:
            return
        was_loose = self._state.pool.loose
        self._state.pool.restore(view)
        self._welcome(view, event.models, was_loose, now, out)
        self.check_hopeless(now, out)

    def _shut_out(self, view: ReplicaView, now: float, out: Effects) -> int:
        """Take a replica and what it holds out of every choice; return which replicas were loose before."""
        was_loose = self._state.pool.loose
        self._state.pool.drain(view)
        for model in list(view.models.values()):
            self._news.gone(model, view, now, out)
        return was_loose

    def replica_down(self, event: ev.ReplicaDown, now: float, out: Effects) -> None:
        view = self._state.pool.by_id.get(event.replica)
        if view is None:
            return
        was_loose = self._state.pool.loose
        struck = list(view.loading.values())
        bereft = [(model, model.demand) for model in self._state.models.values() if model.demand is not None]
        for _, demand in bereft:
            bid = demand.bid_at(view)
            if bid is not None:
                self._demands.end(demand, bid)
            demand.claims &= ~view.bit
        self._state.pool.remove(view)
        self._state.failures.forget_replica(view.bit)
        for model, _ in bereft:
            self._serving.emptied(model, now, out)
        for model in list(view.fetching.values()):
            model.loading &= ~view.bit
            self._serving.emptied(model, now, out)
        for model in struck:
            self._strike(model, view, now, out)
        for model in list(view.models.values()):
            self._news.gone(model, view, now, out)
        for request in list(self._state.requests.values()):
            if request.view is view:
                self._orphan(request, now, out)
        for model in list(self._state.waiting):
            self._demands.seek(model, now, out)
        self._after_loss(was_loose, now, out)

    def _after_loss(self, was_loose: int, now: float, out: Effects) -> None:
        if was_loose and not self._state.pool.loose and self._state.pool.up:
            self._serving.requeue_all(now, out)
        if self._state.queued and self._state.pool.deserted and self._state.down_since is None:
            self._state.down_since = now
        self.check_hopeless(now, out)

    def _strike(self, model: Model, view: ReplicaView, now: float, out: Effects) -> None:
        """Hold a replica's death against a model that it was loading."""
        model.loading &= ~view.bit
        strikes = self._state.strikes.pop(model.name, 0) + 1
        self._state.strikes[model.name] = strikes
        if len(self._state.strikes) > MAX_STRUCK:
            self._state.strikes.popitem(last=False)
        if strikes >= STRIKES and not model.holders:
            delay = min(MAX_RETRY_AFTER_S, STRIKE_BASE_S * 2.0 ** (strikes - STRIKES))
            text = f"model {model.name!r} was loading each of the last {strikes} times its replica died"
            failure = self._state.failures.remember(model.name, Failure("model_load_failed", text, delay), now)
            self._serving.fail_all(model, failure, 147, now, out)
        self._serving.emptied(model, now, out)

    def _orphan(self, request: Waiting, now: float, out: Effects) -> None:
        """See to a request whose replica died with it."""
        request.view = None
        if request.cancelled:
            del self._state.requests[request.id]
        elif request.began or request.tried or not request.replayable:
            text = "the replica died while it may have been working on the request"
            self._serving.fail(request, Failure("replica_died", text), 144, now, out)
        else:
            request.tried = True
            self._serving.again(request, now, out)

    def summary_changed(self, event: ev.SummaryChanged, now: float, out: Effects) -> None:
        view = self._state.pool.by_id.get(event.replica)
        if view is None:
            return
        was_blocked = view.blocked
        self._state.pool.summarise(view, event.summary)
        if self._state.waiting and not view.draining:
            self._demands.pull(view, self._state.waiting, now, out)
            self._demands.push(view, self._state.waiting, now, out)
        if view.blocked and not was_blocked:
            self.check_hopeless(now, out)

    def check_hopeless(self, now: float, out: Effects) -> None:
        """Answer cold waiters when no replica has a slot that any want could get."""
        for model in list(self._state.waiting):
            self.give_up(model, now, out)

    def give_up(self, model: Model, now: float, out: Effects) -> bool:
        """Answer whoever waits for a model that no replica holds, loads or has a slot for; return whether so."""
        pool = self._state.pool
        started = any(model.name in view.loading for view in pool.each(model.loading & pool.up))
        if not pool.up or pool.suspect or pool.up & ~pool.blocked or model.holders or started:
            return False
        self._serving.fail_all(model, self._state.slots_busy(model.name), 145, now, out)
        return True

    def place_offered(self, event: ev.PlaceOffered, now: float, out: Effects) -> None:
        view = self._state.pool.by_id.get(event.replica)
        if view is None:
            return
        self._state.pool.offered(view)
        before = len(out)
        if self._state.queued:
            self._serving.serve(view, now, out)
        if not any(isinstance(effect, Dispatch) for effect in out[before:]):
            out.append(ev.PassPlace(view.id, case=131))

    def want_withdrawn(self, event: ev.WantWithdrawn, now: float, out: Effects) -> None:
        """End a want that was given back; a replica that gives one back unasked is stopping."""
        view = self._state.pool.by_id.get(event.replica)
        model = self._state.models.get(event.model)
        bid = model.demand.bid_at(view) if view and model and model.demand else None
        if view is None or model is None or model.demand is None or bid is None:
            return
        self._demands.end(model.demand, bid)
        if not bid.withdrawing:
            self.drain(view, now, out)
        self._serving.emptied(model, now, out)
        self._demands.seek(model, now, out)
