"""Driving a pool with a trace: an open loop at the trace's own times, or a closed loop of clients."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from runtime.core.events import Key, Preload
from runtime.core.placement import copies_for
from runtime.simulate.arrivals import Arrival, Trace
from runtime.simulate.faults import Faults
from runtime.simulate.invariants import leftover, require, residue
from runtime.simulate.pool import Outcome, Pool
from runtime.simulate.result import Result
from runtime.simulate.shape import Shape

READY_S = 1.0  # before the first request: what a new replica takes to connect
STEP_S = 10.0  # of virtual time between two looks whether everything is answered
REST_S = 60.0  # after the last answer, until nothing may be left of any request


class Run:
    """One pool under one trace. ``clients`` None: every request comes when the trace says so."""

    def __init__(
        self,
        shape: Shape,
        trace: Trace,
        *,
        clients: int | None = None,
        seed: int = 0,
        faults: Faults | None = None,
        check: bool = False,
    ) -> None:
        self.shape = shape
        self.faults = faults or Faults()
        self.result = Result(shape.eviction)
        self._rng = random.Random(f"run {seed}")
        self._check = check
        self._clients = clients
        self._arrivals: Iterator[Arrival] | None = iter(trace)
        self._start: float | None = None  # the trace's clock at the first request
        self._sent = 0
        self._answered = 0
        self._last_answer = 0.0
        self._waits_since = 0.0  # when a request came to a pool in which none waited
        self._next_at = 0.0  # when the next one of an open loop comes
        self._zero = 0.0  # when the first request comes
        self.pool = Pool(
            replicas=0,
            limits=shape.replica_limits(),
            queue=shape.scheduler_limits(),
            routers=shape.routers,
            durations=self.faults.durations(shape, random.Random(f"durations {seed}")),
            check=check,
        )
        # a want and its withdrawal that cross on a slow link can leave a second load behind for a message's time
        self.pool.single_flight = not self.faults.late_messages
        for index in range(shape.replicas):
            self._start_replica(index)

    def run(self) -> Result:
        """Let everything happen. Raises ``InvariantBroken``: always if a request is never answered."""
        began = time.process_time()
        self._make_ready()
        if self._clients is None:
            self._send_next()
        else:
            for client in range(self._clients):
                self._client(client)
        if self.faults.kill_every_s:
            self._plan_death()
        while self._busy:
            before = self._answered
            quiet_until = self._next_at if self._answered == self._sent else 0.0
            self.pool.run(max(self.pool.now + STEP_S, quiet_until))
            if self._busy and self._answered == before:
                self._no_progress()
        if self._check:
            self._nothing_left()
        self._sum_up(time.process_time() - began)
        return self.result

    @property
    def _busy(self) -> bool:
        return self._arrivals is not None or self._answered < self._sent

    # --- requests ---------------------------------------------------------------------------------------

    def _next(self) -> Arrival | None:
        """Return the next request of the trace."""
        arrival = next(self._arrivals, None) if self._arrivals is not None else None
        if arrival is None:
            self._arrivals = None
        return arrival

    def _send_next(self) -> None:
        """Schedule the next arrival; each one schedules its successor, so the trace is never held."""
        arrival = self._next()
        if arrival is None:
            return
        if self._start is None:
            self._start = arrival.at
        self._next_at = self._zero + arrival.at - self._start
        self.pool.at(self._next_at, self._arrive, arrival.model)

    def _arrive(self, model: str | None) -> None:
        self._submit(model, self._sent % self.shape.routers)
        self._send_next()

    def _client(self, number: int) -> None:
        """Send a client's next request, and the one after it when that is answered."""
        arrival = self._next()
        if arrival is not None:
            self._submit(arrival.model, number % self.shape.routers, client=number)

    def _submit(self, model: str | None, router: int, client: int | None = None) -> None:
        if self._sent == self._answered:
            self._waits_since = self.pool.now
        self._sent += 1
        if model is not None:
            self.result.keyed += 1
            known = self.pool.routers[router].scheduler.state.models.get(model)
            self.result.hits += known is not None and known.holders != 0

        ended: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            require(not ended, "a request ends once", outcome)
            ended.append(outcome)
            self._done(outcome)
            if client is not None:  # never from within: the effects of this very event are not all performed yet
                self.pool.at(self.pool.now, lambda: self._client(client))

        request = self.pool.submit(model, done, router=router)
        if self.faults.leaving and self._rng.random() < self.faults.leaving:
            self.pool.after(self._rng.random() * self.faults.leave_s, lambda: self.pool.cancel(request, router=router))

    def _done(self, outcome: Outcome) -> None:
        self._answered += 1
        self._last_answer = self.pool.now
        if outcome.failure is not None:
            self.result.failed[outcome.failure.code] += 1
            return
        self.result.latencies.add(outcome.seconds)
        if outcome.began is not None:
            self.result.waits.add(outcome.began - outcome.arrived)

    # --- replicas ---------------------------------------------------------------------------------------

    def _start_replica(self, index: int) -> None:
        shape = self.shape
        replica = self.pool.replicas[self.pool.start(index)]
        for model in copies_for(shape.pin, shape.copies, index, shape.replicas):
            replica.hear(Preload(Key(0, model), pinned=True))
        for model in copies_for(shape.preload, shape.copies, index, shape.replicas):
            replica.hear(Preload(Key(0, model)))

    def _make_ready(self) -> None:
        """Let replicas connect and load what they hold before they are ready."""
        while self.pool.now < self.shape.load_timeout_s:
            self.pool.run(self.pool.now + READY_S)
            states = [replica.residency.state for replica in self.pool.replicas.values()]
            if not any(
                want.preload is not None for s in states for wants in s.wants for want in wants.by_model.values()
            ):
                break
        self._zero = self._last_answer = self.pool.now

    def _plan_death(self) -> None:
        self.pool.after(self._rng.expovariate(1.0 / self.faults.kill_every_s), self._kill)

    def _kill(self) -> None:
        if not self._busy:
            return
        if self.pool.replicas:
            replica = self.pool.replicas[self._rng.choice(sorted(self.pool.replicas))]
            self.result.deaths += 1
            self.pool.kill(replica.id)
            self.pool.after(self.faults.back_after_s, lambda: self._start_replica(replica.index))
        self._plan_death()

    # --- the end ----------------------------------------------------------------------------------------

    def _no_progress(self) -> None:
        """Fail if requests wait although nothing more arrives, and longer than any single thing may take."""
        shape, faults = self.shape, self.faults
        slowest = max(shape.load_s.low, shape.load_s.high) * (faults.slow_by if faults.slow_loads else 1.0)
        work = max(shape.work_s.low, shape.work_s.high)
        most = min(slowest, shape.load_timeout_s) + work + shape.swap_wait_s + 2 * shape.drain_limit_s
        waited = self.pool.now - max(self._last_answer, self._waits_since)
        waiting = self._sent - self._answered
        if waiting:
            require(waited <= STEP_S + 10 * most, f"{waiting} requests wait for ever", self.pool.routers[0].scheduler)

    def _nothing_left(self) -> None:
        """Check that nothing remains of any request once all have ended."""
        self.pool.run(self.pool.now + REST_S + self.shape.load_timeout_s)
        for router in self.pool.routers:
            require(not leftover(router.scheduler), "nothing is left at a router", leftover(router.scheduler))
        for replica in self.pool.replicas.values():
            require(not residue(replica.residency), "nothing is left at a replica", residue(replica.residency))

    def _sum_up(self, cpu_s: float) -> None:
        result, pool = self.result, self.pool
        result.requests = self._answered
        result.loads, result.evictions, result.events = pool.loads, pool.evictions, pool.events
        result.seconds = max(0.0, self._last_answer - self._zero)
        result.cpu_s = cpu_s


def simulate(
    shape: Shape,
    trace: Trace,
    *,
    clients: int | None = None,
    seed: int = 0,
    faults: Faults | None = None,
    check: bool = False,
) -> Result:
    """Run ``trace`` through a pool of ``shape`` in virtual time and return what came of it.

    ``check`` holds the invariants of the brain to every step. Raises ``InvariantBroken``.
    """
    return Run(shape, trace, clients=clients, seed=seed, faults=faults, check=check).run()
