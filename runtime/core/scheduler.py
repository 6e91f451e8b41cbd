"""The brain of a router for one deployment: where each request goes or waits, and which models are wanted where.

``handle(event, now)`` returns the effects that the shell performs in order; ``deadline()`` is when it must be
woken with ``Woken`` if nothing else happens. The rules are numbered in ``core.cases``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.core import events as ev
from runtime.core import ranking
from runtime.core.decisions import Decision
from runtime.core.demands import Demands
from runtime.core.events import Dispatch, Failure, SchedulerEvent, SchedulerLimits
from runtime.core.fleet import Fleet
from runtime.core.models import Model, Waiting
from runtime.core.news import News
from runtime.core.replica_view import ReplicaView
from runtime.core.router_state import Effects, RouterState
from runtime.core.serving import Serving


class Scheduler:
    """One deployment's queues, wants and places in one router. ``name`` is the deployment's."""

    def __init__(self, name: str, limits: SchedulerLimits, *, router: str = "router-0", routers: int = 1) -> None:
        self.name = name
        self.router = router
        self.state = RouterState(name, limits, shared=routers > 1)
        state = self.state
        self._demands = Demands(state.pool, state.failures, state.decisions, state.failing)
        self._serving = Serving(self.state, self._demands)
        self._news = News(self.state, self._demands, self._serving)
        self._fleet = Fleet(self.state, self._demands, self._serving, self._news)
        self._handlers: dict[type, Callable[[Any, float, Effects], None]] = {
            ev.RequestArrived: self._arrived,
            ev.RequestFinished: self._finished,
            ev.RequestBegan: self._began,
            ev.RequestCancelled: self._cancelled,
            ev.RequestRefused: self._refused,
            ev.ReplicaUp: self._fleet.replica_up,
            ev.ReplicaDraining: self._fleet.replica_draining,
            ev.ReplicaSuspected: self._fleet.replica_suspected,
            ev.ReplicaTrusted: self._fleet.replica_trusted,
            ev.ReplicaDown: self._fleet.replica_down,
            ev.ModelChanged: self._news.model_changed,
            ev.SummaryChanged: self._fleet.summary_changed,
            ev.PlaceOffered: self._fleet.place_offered,
            ev.WantWithdrawn: self._fleet.want_withdrawn,
            ev.LimitsChanged: self._limits_changed,
            ev.Woken: self._woken,
        }

    def handle(self, event: SchedulerEvent, now: float) -> Effects:
        """Take one event at ``now`` (seconds, monotonic); return what to do, in order."""
        out: Effects = []
        self._handlers[type(event)](event, now, out)
        return out

    def deadline(self) -> float | None:
        """Return when to call ``handle(Woken())`` if nothing happens before; None: never."""
        due = self._demands.due()
        if self.state.down_since is not None:
            down = self.state.down_since + self.state.limits.drain_limit_s
            return down if due is None else min(due, down)
        return due

    def _arrived(self, event: ev.RequestArrived, now: float, out: Effects) -> None:
        state = self.state
        number = state.arrivals = state.arrivals + 1
        name = event.model
        request = Waiting(event.request, name, number, now, event.replayable)
        state.requests[event.request] = request
        pool = state.pool
        if name is None or pool.loose:
            self._arrived_unkeyed(request, now, out)
            return
        model = state.models.get(name)
        if model is not None and (model.demand is None or not len(model.demand.queue)):
            view, case = model.sole, 101
            if view is None:
                among = model.holders & pool.room
                if among:
                    bit, case = ranking.holder(pool, among, model.point)
                    view = pool.view_of(bit)
            elif view.in_flight >= view.places or view.owed or view.draining:
                view = None
            if view is not None:
                request.view = view
                pool.take(view)
                out.append(Dispatch(event.request, view.id, name, 0.0, case))
                return
        self._serving.wait(request, now, out)

    def _finished(self, event: ev.RequestFinished, now: float, out: Effects) -> None:
        state = self.state
        request = state.requests.pop(event.request, None)
        if request is None:
            return
        state.pace.finished += 1
        view = request.view
        if view is None:
            self._serving.unqueue(request, now, out)
            return
        state.pool.give(view)
        if state.queued:
            self._serving.serve(view, now, out)

    def _arrived_unkeyed(self, request: Waiting, now: float, out: Effects) -> None:
        if not len(self.state.unkeyed):
            chosen = self._serving.pick_unkeyed(request, self.state.pool.room)
            if chosen is not None:
                self._serving.dispatch(request, chosen[0], chosen[1], now, out)
                return
        self._serving.wait(request, now, out)

    def _began(self, event: ev.RequestBegan, now: float, out: Effects) -> None:
        request = self.state.requests.get(event.request)
        if request is not None:
            request.began = True

    def _cancelled(self, event: ev.RequestCancelled, now: float, out: Effects) -> None:
        request = self.state.requests.get(event.request)
        if request is None:
            return
        if request.view is None:
            del self.state.requests[event.request]
            self._serving.unqueue(request, now, out)
        else:
            request.cancelled = True

    def _refused(self, event: ev.RequestRefused, now: float, out: Effects) -> None:
        request = self.state.requests.get(event.request)
        if request is None or request.view is None:
            return
        view = request.view
        if event.why == "full":
            self.state.pool.refuse(view)
        self.state.pool.give(view)
        if event.why == "draining":
            self._fleet.drain(view, now, out)
        if request.cancelled:
            del self.state.requests[event.request]
        elif event.why == "failed" and event.failure is not None and not self.state.limits.dispatch_failed:
            self._serving.fail(request, event.failure, 148, now, out)
        else:
            if event.why in ("absent", "failed"):
                self._not_there(request, view, now, out)
            self._serving.again(request, now, out)
        if self.state.queued:
            self._serving.serve(view, now, out)

    def _not_there(self, request: Waiting, view: ReplicaView, now: float, out: Effects) -> None:
        """Believe a replica that says a model is not resident, whatever was published."""
        if request.model is None:
            return
        self.state.pool.loose &= ~view.bit
        model = self.state.models.get(request.model)
        if model is not None and model.holders & view.bit:
            self._news.gone(model, view, now, out)

    def _limits_changed(self, event: ev.LimitsChanged, now: float, out: Effects) -> None:
        self.state.limits = event.limits

    def _woken(self, event: ev.Woken, now: float, out: Effects) -> None:
        if self.state.down_since is not None and now >= self.state.down_since + self.state.limits.drain_limit_s:
            self.state.down_since = None
            failure = Failure("no_replicas", f"no replica of {self.state.name} is up", 5.0)
            for request in [one for one in self.state.requests.values() if one.view is None]:
                self._serving.unqueue(request, now, out)
                self._serving.fail(request, failure, 146, now, out)
        for model in self._demands.ripe(now):
            if not self._fleet.give_up(model, now, out):
                self._demands.look(model, now, out)

    def models(self) -> list[Model]:
        """Return every model that some replica holds or loads or some request waits for."""
        return list(self.state.models.values())

    def decisions(self, model: str | None = None) -> list[Decision]:
        """Return what was decided lately, oldest first."""
        return self.state.decisions.list(model)

    @property
    def queued(self) -> int:
        """Requests that wait in a queue."""
        return self.state.queued

    def __repr__(self) -> str:
        state = self.state
        waiting = list(state.waiting)
        return f"<Scheduler {self.name} queued={state.queued} {waiting} {list(state.pool.by_id.values())}>"
