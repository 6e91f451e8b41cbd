"""One change of what is desired, followed until it holds or is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from runtime.errors import Locked, MuxError, NotRunning, StartError
from runtime.supervisor.desired import ROUTERS, Desired
from runtime.supervisor.pool import Pool
from runtime.supervisor.worker import Worker


class Rollout:
    """A change under way. ``outcome`` is None once the target holds, or the error for which it was taken back."""

    def __init__(self, target: Desired, previous: Desired | None) -> None:
        self.target = target
        self.previous = previous
        self.error: MuxError | None = None  # it failed and is being taken back
        self.broken = False  # the supervisor itself failed at it
        self.outcome: asyncio.Future[MuxError | None] = asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a deployment could not be brought to what was asked for."""

    message: str
    traceback: str


class Rollouts:
    """At most one rollout at a time; a newer one takes the place of one that is still under way.

    ``good`` is the last generation that held: a failed rollout goes back to it, or to nothing.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        on_held: Callable[[Desired], None],
        on_failed: Callable[[Rollout, MuxError], None],
    ) -> None:
        self.pool = pool
        self.current: Rollout | None = None
        self.good: Desired | None = None
        self.troubles: dict[str, Trouble] = {}  # by deployment, until a rollout holds
        self._on_held = on_held
        self._on_failed = on_failed
        self._waiting: list[asyncio.Future[MuxError | None]] = []

    def begin(self, target: Desired) -> Rollout:
        """Make ``target`` the goal."""
        self.supersede("a newer command has taken its place")
        self.current = Rollout(target, self.good)
        self.troubles.clear()
        self.pool.retry()
        self.pool.aim(target, self.good)
        return self.current

    def supersede(self, why: str) -> None:
        """Let go of the rollout that is under way, if any."""
        if self.current is not None and not self.current.outcome.done():
            self.current.outcome.set_result(Locked(f"This change was not finished: {why}."))
        self.current = None

    def end(self, why: str) -> None:
        """Let go of the rollout and of everyone who waits: nothing will become ready any more."""
        self.supersede(why)
        self._answer_waiting(NotRunning(f"It will not become ready: {why}."))

    def settling(self) -> asyncio.Future[MuxError | None]:
        """Return a future of the moment when all that is desired is ready; an error if it will not be."""
        future: asyncio.Future[MuxError | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self.pool.wake()
        return future

    def changed(self) -> None:
        """Look at the pool: does the target hold, or has it failed?"""
        rollout, failures = self.current, self.pool.failures
        if rollout is None:
            if self.good is not None and self.pool.desired is not None:
                self.good = self.pool.desired  # what its code says may change with a restart
            if failures or self.pool.settled:
                self._answer_waiting(failure_of(failures[0]) if failures else None)
        elif rollout.error is not None:
            if self.pool.settled or failures or self.pool.stumbling:
                self._finish(rollout, rollout.error)
        elif failures := failures or self.pool.stumbling:  # whoever asked for it learns of it now
            self._take_back(rollout, failures)
        elif self.pool.settled and self.pool.desired is not None:
            self.good = self.pool.desired  # the target, and what its code says
            self._on_held(self.good)
            self._finish(rollout, None)

    def break_off(self, error: MuxError) -> None:
        """Give up the rollout that is under way: the supervisor itself failed at it, and might for ever."""
        rollout = self.current
        if rollout is None:
            self._answer_waiting(error)
            return
        rollout.broken = True
        self._finish(rollout, error)
        if rollout.previous is not None:
            self.pool.aim(rollout.previous)

    def _answer_waiting(self, answer: MuxError | None) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(answer)
        self._waiting.clear()

    def _take_back(self, rollout: Rollout, failures: list[Worker]) -> None:
        for worker in failures:
            trouble = Trouble(failure_of(worker).message, worker.traceback)
            self.troubles.setdefault(worker.slot.deployment, trouble)
        rollout.error = failure_of(failures[0], rollout.previous)
        self.pool.aim(rollout.previous)

    def _finish(self, rollout: Rollout, error: MuxError | None) -> None:
        self.current = None
        if not rollout.outcome.done():
            rollout.outcome.set_result(error)
        self._answer_waiting(error)
        if error is not None:
            self._on_failed(rollout, error)


def failure_of(worker: Worker, previous: Desired | None = None) -> MuxError:
    """Return why a child cannot do what is desired of it; ``previous`` goes on in its place."""
    after = f" Generation {previous.generation} goes on serving." if previous else ""
    if worker.refusal:
        return StartError(f"{worker.name} {worker.refusal}.{after}", traceback=worker.traceback)
    who = "A router" if worker.slot.deployment == ROUTERS else f"Deployment {worker.slot.deployment!r}"
    return StartError(
        f"{who} did not start: {worker.name} {worker.message}.{after}",
        traceback=worker.traceback,
        hint="Its output is in `mux logs`.",
    )
