"""The children as they are, brought step by step to what is desired.

``core.rollout`` decides what to start and drain, ``core.restart`` when to start again; this performs it. All
state changes on the loop: in what workers report, and in ``_reconcile``, which a change wakes and which runs to
its end without an await.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from runtime.config.models import Deployment
from runtime.core import rollout
from runtime.core.restart import RestartPolicy
from runtime.core.rollout import Instance, Slot, Step
from runtime.engines.engine import ChildProcess, Engine, Launch
from runtime.link.control import Pong, Progress
from runtime.supervisor.checkup import Checkup
from runtime.supervisor.chronicle import Chronicle
from runtime.supervisor.desired import ROUTERS, Desired
from runtime.supervisor.live import LiveSettings
from runtime.supervisor.ports import Address, PublicSockets
from runtime.supervisor.questions import residents_of
from runtime.supervisor.restarts import Restarts
from runtime.supervisor.retirement import Retirement
from runtime.supervisor.specs import Specs, new_incarnation
from runtime.supervisor.tables import Tables
from runtime.supervisor.tasks import TaskSet
from runtime.supervisor.worker import Worker

FAULT_GRACE_S: Final = 5.0  # between the SIGTERM and the SIGKILL of a child that must end


class Pool:
    """All children of one project. ``desired`` None: nothing shall run, and routers go first.

    ``on_change`` is called after every change, ``on_children`` when a process was spawned or has ended, ``on_fault``
    when something in here failed that should not have.
    """

    def __init__(
        self,
        specs: Specs,
        engine: Engine,
        sockets: PublicSockets,
        chronicle: Chronicle,
        *,
        on_change: Callable[[], None],
        on_children: Callable[[], None],
        on_fault: Callable[[BaseException], None],
        policy: Callable[[], RestartPolicy] = RestartPolicy,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.desired: Desired | None = None
        self._outgoing: Desired | None = None  # what ran before, until every slot of ``desired`` is ready
        self.workers: list[Worker] = []  # in the order of their starts
        self.tables = Tables()
        self._specs = specs
        self._engine = engine
        self._sockets = sockets
        self._chronicle = chronicle
        self._on_change = on_change
        self._on_children = on_children
        self._on_fault = on_fault
        self._clock = clock
        self._restarts = Restarts(policy, clock)
        self._tasks = TaskSet(self._broke)
        self.live = LiveSettings(self._tasks, chronicle, self.wake)
        self._checkup = Checkup(self._suspected, self._end_unhealthy, clock)
        self._retirement = Retirement(self.routers, self._publish, chronicle.note)
        self._waking = False

    # --- what is desired

    def aim(self, desired: Desired | None, outgoing: Desired | None = None) -> None:
        """Set what shall run from now on. Deployments of ``outgoing`` that it lacks serve until it stands."""
        self.desired, self._outgoing = desired, outgoing
        self._restarts.aim(desired.slots if desired else [], [one.slot for one in self.workers])
        if desired:
            limits = (desired.deployment(name).graceful_shutdown_timeout_s for name in desired.by_name)
            self._retirement.router_drain_s = max(limits)
        self.wake()

    def _heed(self, worker: Worker) -> None:
        """Take over what the code of a desired replica says of the keys that are left to it."""
        name = worker.slot.deployment
        if self.desired is not None and self.desired.revisions.get(name) == worker.slot.revision:
            known = self.desired.heed(name, worker.options)
            if known is not self.desired:
                self.aim(known, self._outgoing)

    def retry(self) -> None:
        """Try the slots whose children could not start again, and those that wait for their next start now."""
        for worker in [one for one in self.workers if one.phase in ("failed", "backoff")]:
            if worker.phase == "failed":
                self._restarts.forget(worker.slot)
            self.workers.remove(worker)
        self.wake()

    @property
    def settled(self) -> bool:
        """Exactly what is desired runs, is ready and has its latest config."""
        slots = self.desired.slots if self.desired else []
        reconfigured = all(one.config_accepted for one in self.workers)
        return reconfigured and rollout.settled(slots, [one.instance for one in self.workers])

    @property
    def failures(self) -> list[Worker]:
        """Desired children that cannot start, or that refused their new config."""
        slots = set(self.desired.slots) if self.desired else set()
        return [one for one in self.workers if one.slot in slots and (one.phase == "failed" or one.refusal)]

    @property
    def stumbling(self) -> list[Worker]:
        """Desired children that said that they cannot start, and are tried again since their slots once worked."""
        slots = set(self.desired.slots) if self.desired else set()
        return [one for one in self.workers if one.slot in slots and one.phase == "backoff" and one.failure]

    @property
    def alive(self) -> list[tuple[str, ChildProcess]]:
        return [(one.name, one.process) for one in self.workers if one.process is not None and one.alive]

    def routers(self) -> list[Worker]:
        """Return the routers that have finished their handshake and are not draining."""
        return [one for one in self.workers if one.role == "router" and one.phase in ("connecting", "ready")]

    def replicas(self, deployment: str = "") -> list[Worker]:
        """Return the replicas, ready or not; of one deployment, or all."""
        every = (one for one in self.workers if one.role == "replica")
        return [one for one in every if deployment in ("", one.slot.deployment)]

    async def close(self) -> None:
        """Kill what still lives and wait for its end."""
        self.desired = None
        self._restarts.aim([])
        for _, process in self.alive:
            process.kill()
        waiting = [asyncio.ensure_future(one.done.wait()) for one in self.workers if one.process is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=FAULT_GRACE_S)
        for one in waiting:
            one.cancel()
        await self._tasks.close()

    # --- the loop

    def wake(self) -> None:
        """Have ``_reconcile`` run at the end of this turn of the loop."""
        if not self._waking:
            self._waking = True
            asyncio.get_running_loop().call_soon(self._reconcile)

    def _reconcile(self) -> None:
        self._waking = False
        try:
            self._approach()
        except Exception as exc:
            self._broke("reconcile", exc)

    def _broke(self, name: str, error: BaseException) -> None:
        """Log a fault of the supervisor itself, and have what waits for it end."""
        self._chronicle.task_failed(name, error)
        self._on_fault(error)

    def _approach(self) -> None:
        self._promote()
        if self.desired is not None and rollout.covered(self.desired.slots, [one.instance for one in self.workers]):
            self._outgoing = None
        for step in self._steps():
            if isinstance(step, rollout.Start):
                self._start(step.slot)
            else:
                self._drain(step.instance)
        for replica in self.replicas():
            if self.desired is not None and replica.phase == "ready" and self.live.hand_over(self.desired, replica):
                self._checkup.look_again(replica)
        self._publish()
        self._on_change()

    def _steps(self) -> Iterator[Step]:
        instances = [one.instance for one in self.workers]
        if self.desired is None:
            routers = [one for one in instances if one.deployment == ROUTERS]
            yield from rollout.plan([], routers or instances, 0)
            return
        slots = self.desired.slots
        surges = {one.name: one.max_surge for one in self.desired.config.deployments}
        staying = {one.name for one in self._staying()}
        instances = [one for one in instances if not (one.deployment in staying and one.state == "ready")]
        for name in dict.fromkeys([slot.deployment for slot in slots] + [one.deployment for one in instances]):
            mine = [slot for slot in slots if slot.deployment == name]
            yield from rollout.plan(mine, [i for i in instances if i.deployment == name], surges.get(name, 1))

    def _staying(self) -> list[Deployment]:
        """Return the deployments that are not desired any more, but serve until what is desired can."""
        if self._outgoing is None or self.desired is None:
            return []
        gone = [self._outgoing.deployment(name) for name in self._outgoing.by_name if name not in self.desired.by_name]
        return [one for one in gone if one.max_surge and any(r.phase == "ready" for r in self.replicas(one.name))]

    def _publish(self) -> int:
        """Have the routers know what has changed; return the number of the table that tells."""
        if self.tables.update(self.desired, self.replicas(), self._staying()):
            for worker in self.workers:
                if worker.role == "router":
                    worker.send(self.tables.current)
        return self.tables.generation

    def _promote(self) -> None:
        """A router is ready once it has applied a table, a replica once every router knows it."""
        for router in self.routers():
            if router.phase == "connecting" and router.table:
                self._ready(router)
        applied = min((router.table for router in self.routers()), default=0)
        for replica in self.replicas():
            if replica.phase == "connecting" and 0 < replica.table <= applied:
                self._ready(replica)

    def _ready(self, worker: Worker) -> None:
        worker.phase = "ready"
        worker.message = ""
        self._restarts.ready(worker)
        self._chronicle.ready(worker)
        self.live.ready(worker)
        self._tasks.start(self._checkup.run(worker), f"checkup of {worker.name}")
        self.wake()

    # --- steps

    def _start(self, slot: Slot) -> None:
        assert self.desired is not None  # there are no desired slots otherwise
        incarnation = new_incarnation()
        worker = Worker(slot, self._specs.of(self.desired, slot, incarnation), incarnation, self)
        self._restarts.started(worker)
        self.workers.append(worker)
        self._tasks.start(worker.run(self._engine, partial(self._launch, worker, self.desired)), worker.name)

    async def _launch(self, worker: Worker, desired: Desired) -> Launch:
        spec, env = worker.spec, self._specs.env(desired, worker.slot)
        if worker.role == "router":
            address = Address.of(desired.config.http)
            return Launch(spec, env, [self._sockets.of_router(address, worker.slot.index)])
        same_index = (one for one in self.replicas(worker.slot.deployment) if one.slot.index == worker.slot.index)
        outgoing = next((one for one in same_index if one.phase == "ready"), None)
        if outgoing is not None:
            spec.preload = await residents_of(outgoing)
        return Launch(spec, env)

    def _drain(self, instance: Instance) -> None:
        worker = next(one for one in self.workers if one.id == instance.id)
        if worker.phase in ("failed", "backoff"):
            self.workers.remove(worker)
            self.wake()
            return
        worker.phase = "draining"
        if worker.role == "router" and self.desired is not None:
            http = self.desired.config.http
            self._sockets.trim(Address.of(http), http.routers)
        self._chronicle.draining(worker)
        self._tasks.start(self._retirement.run(worker), f"retire {worker.name}")

    # --- what workers report (WorkerListener)

    def spawned(self, worker: Worker) -> None:
        self._on_children()
        self._chronicle.started(worker)
        if worker.role == "router":
            worker.send(self.tables.current)

    def handshaken(self, worker: Worker) -> None:
        worker.ready_at = self._clock()
        worker.message = ""  # what it was doing is done
        if worker.phase == "starting":
            worker.phase = "connecting"
        if worker.role == "replica":
            self._heed(worker)
        self.wake()

    def progressed(self, worker: Worker, progress: Progress) -> None:
        self._chronicle.progressed(worker, progress)

    def applied(self, worker: Worker, generation: int) -> None:
        worker.table = max(worker.table, generation)
        self._retirement.look_again()
        self.wake()

    def ponged(self, worker: Worker, pong: Pong) -> None:
        self._checkup.pong(worker, pong)

    def _suspected(self, worker: Worker) -> None:
        self._chronicle.suspected(worker)
        self.wake()  # the routers send it nothing new, or something again

    def faulted(self, worker: Worker, why: str) -> None:
        self._end_unhealthy(worker, f"cannot go on: {why}")

    def _end_unhealthy(self, worker: Worker, why: str) -> None:
        if worker.phase in ("starting", "connecting", "ready") and worker.process is not None:
            worker.message, worker.condemned = why, True
            self._chronicle.unhealthy(worker, why)
            self.wake()
            worker.process.terminate()
            asyncio.get_running_loop().call_later(FAULT_GRACE_S, worker.process.kill)

    def ended(self, worker: Worker) -> None:
        self._retirement.look_again()
        self._on_children()
        if worker.phase in ("draining", "stopped") or not self._restarts.wants(worker.slot):
            worker.phase = "stopped"
            self._chronicle.stopped(worker)
            self.workers.remove(worker)
        else:
            self._died(worker)
        self.wake()

    def _died(self, worker: Worker) -> None:
        delay_s = self._restarts.died(worker)
        worker.message = worker.obituary()
        worker.suspect = False
        if delay_s is None or worker.failure is not None:
            worker.traceback = worker.last_output()
        if delay_s is None:
            worker.phase = "failed"
            self._chronicle.gave_up(worker)
        else:
            worker.phase = "backoff"
            self._chronicle.died(worker, delay_s)
            asyncio.get_running_loop().call_later(delay_s, self._revive, worker)

    def _revive(self, worker: Worker) -> None:
        if worker.phase == "backoff" and worker in self.workers:
            self.workers.remove(worker)
            self.wake()
