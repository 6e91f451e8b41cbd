"""One deployment's scheduler and its replicas: what happens becomes events, effects become frames.

Every event goes through ``feed``, which performs the scheduler's effects in order and with no await between. An
effect that fails does not keep those after it from being performed.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import traceback
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Raw

from runtime.core.decisions import Decision
from runtime.core.events import (
    Dispatch,
    Expect,
    Fail,
    LimitsChanged,
    PassPlace,
    Release,
    ReplicaDown,
    RequestArrived,
    RequestBegan,
    RequestCancelled,
    RequestFinished,
    RequestRefused,
    SchedulerEffect,
    SchedulerEvent,
    SchedulerLimits,
    Unwant,
    Want,
    Woken,
)
from runtime.errors import MuxError
from runtime.link.frames import Cause, Command, Refused, encode_head
from runtime.router.answers import error_of
from runtime.router.journal import Journal
from runtime.router.tally import Tally
from runtime.router.wire import failure_of, reason_of

if TYPE_CHECKING:
    from runtime.link.connection import Link
    from runtime.observe.logs import LogWriter
    from runtime.router.job import Job
    from runtime.router.replica import Replica
    from runtime.router.settings import DeploymentSettings

OVERDUE_S: Final = 2.0
_numbers = itertools.count(1)
SEARCHED_JOBS: Final = 100  # when a moved want looks for a request to name in the logs


class Brain(Protocol):
    """What a pool needs of ``runtime.core.scheduler.Scheduler``."""

    def handle(self, event: SchedulerEvent, now: float) -> list[SchedulerEffect]: ...

    def deadline(self) -> float | None: ...

    def decisions(self) -> list[Decision]: ...


class Pool:
    """Not thread-safe: everything happens on the event loop."""

    def __init__(
        self,
        settings: DeploymentSettings,
        application: str,
        scheduler: Brain,
        log: LogWriter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = settings.name
        self.application = application
        self.settings = settings
        self.scheduler = scheduler
        self.jobs: dict[int, Job] = {}  # waiting or dispatched, in order of arrival
        self.replicas: dict[str, Replica] = {}
        self.tally = Tally()
        self.journal = Journal(clock, lambda: scheduler.decisions())
        self.broken = ""  # why the scheduler's last step failed; "" while it works
        self._log = log
        self._clock = clock
        self._events: deque[SchedulerEvent] = deque()
        self._busy = False  # an event is being handled: further ones wait in line
        self._cancelled: set[int] = set()  # dispatched jobs that nobody waits for any more
        self._cause: Job | None = None  # the job whose arrival is being handled
        self._wants = 0  # cold wants ever made: tells whether an arrival caused a load
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __repr__(self) -> str:
        return f"<Pool {self.name} jobs={len(self.jobs)} replicas={list(self.replicas)}>"

    # --- jobs ---------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Schedule a job: it is dispatched or failed now, or later."""
        job.number = number = next(_numbers)
        self.jobs[number] = job
        wants = self._wants
        self._cause = job
        self.feed(RequestArrived(number, job.model or None))
        self._cause = None
        if job.stream is None and job.model and number in self.jobs and self._loads_early():
            job.cache = "load" if self._wants != wants else "" if self.holds(job.model) else "wait"

    def began(self, job: Job) -> None:
        self.feed(RequestBegan(job.number))

    def finished(self, job: Job) -> None:
        """The job's terminal frame came."""
        number = job.number
        if self._cancelled:
            self._cancelled.discard(number)
        if self.jobs.pop(number, None) is not None:
            self.feed(RequestFinished(number))

    def refused(self, job: Job, refused: Refused) -> None:
        """The replica sent it back; it surely did not begin."""
        job.cache = job.cache or ("wait" if refused.why == "absent" else "")
        self.feed(RequestRefused(job.number, reason_of(refused), failure_of(refused.failure)))

    def cancelled(self, job: Job) -> None:
        """Nobody waits for the job any more. One that has a stream still ends with ``finished``."""
        if job.stream is None:
            self.jobs.pop(job.number, None)
        else:
            self._cancelled.add(job.number)
        self.feed(RequestCancelled(job.number))

    # --- replicas -----------------------------------------------------------------------------------------

    def lost(self, replica: str) -> None:
        """A link went. What may have begun there and cannot be repeated is not tried again."""
        for job in [job for job in self.jobs.values() if job.replica == replica]:
            if job.number in self._cancelled:
                self.finished(job)
            elif not job.repeatable:
                self.feed(RequestBegan(job.number))
        self.feed(ReplicaDown(replica))

    def holds(self, model: str) -> bool:
        """Return whether a replica has published ``model`` as resident."""
        return any(r.models[model].state == "resident" for r in self.replicas.values() if model in r.models)

    def _loads_early(self) -> bool:
        """Return whether a request waits here until its model is resident; else the replica says how it was found."""
        links = [replica.link for replica in self.replicas.values() if replica.link is not None]
        return self.settings.load == "early" and all(link.peer.caches == 1 for link in links)

    def forget(self, replica: str) -> None:
        """A replica has left the table and its link is closed."""
        self.replicas.pop(replica, None)

    def abandon(self, error: MuxError) -> None:
        """The deployment is gone: fail what waits; what runs ends."""
        for job in [job for job in self.jobs.values() if job.stream is None]:
            self.cancelled(job)
            job.fail(error)

    def change_limits(self, settings: DeploymentSettings) -> None:
        before: SchedulerLimits = self.settings.limits()
        self.settings = settings
        if settings.limits() != before:
            self.feed(LimitsChanged(settings.limits()))

    # --- the scheduler ------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        return sum(1 for job in self.jobs.values() if job.stream is None)

    def stalled(self) -> str:
        """Return why the scheduler makes no progress, "" if it does."""
        if self.broken:
            return f"{self.name}: {self.broken}"
        late = self._clock() - self._timer_at if self._timer is not None else 0.0
        return f"{self.name}: its scheduler is {late:.1f} s late" if late > OVERDUE_S else ""

    def feed(self, event: SchedulerEvent) -> None:
        """Hand one event to the scheduler and perform what it answers. Events made meanwhile wait in line."""
        if self._busy:
            self._events.append(event)
            return
        self._busy = True
        try:
            self._step(event)
            while self._events:
                self._step(self._events.popleft())
        finally:
            self._busy = False
        deadline = self.scheduler.deadline()
        if deadline is not None and (self._timer is None or deadline < self._timer_at):
            self._arm(deadline)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _step(self, event: SchedulerEvent) -> None:
        try:
            effects = self.scheduler.handle(event, self._clock())
            self.broken = ""
        except Exception as exc:
            self.broken = f"{type(exc).__name__}: {exc}"
            self._report(f"the scheduler failed on {event!r}", exc)
            if isinstance(event, RequestArrived):
                self._give_up(event.request)
            return
        for effect in effects:
            try:
                if type(effect) is Dispatch:
                    self._dispatch(effect)
                else:
                    self._perform(effect)
            except Exception as exc:
                self._report(f"{effect!r} could not be performed", exc)
                if isinstance(effect, Dispatch):
                    self._give_up(effect.request)
                    self._events.append(RequestFinished(effect.request))

    def _give_up(self, number: int) -> None:
        job = self.jobs.pop(number, None)
        if job is not None:
            job.fail(MuxError("the router could not schedule the request", hint="the router's log says why"))

    def _report(self, what: str, exc: Exception) -> None:
        trace = "".join(traceback.format_exception(exc))
        self._log.event(f"{self.name}: {what}\n{trace}", level="ERROR", deployment=self.name)

    def _arm(self, deadline: float) -> None:
        """Keep one timer for the scheduler's deadline; one that fires early only looks again."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        delay = max(0.0, deadline - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer = None
        deadline = self.scheduler.deadline()
        if deadline is None:
            return
        if deadline <= self._clock():
            self.feed(Woken())
        else:
            self._arm(deadline)

    # --- effects ------------------------------------------------------------------------------------------

    def _perform(self, effect: SchedulerEffect) -> None:
        if isinstance(effect, Fail):
            job = self.jobs.pop(effect.request, None)
            if job is not None:
                self.journal.note(effect, job.model, job.request_id)
                self.tally.failed += 1
                job.fail(error_of(effect.failure))
        elif isinstance(effect, Want):
            self._wants += effect.kind == "cold"
            self.journal.note(effect, effect.model, "")
            self._tell(effect.replica, self._want(effect))
        elif isinstance(effect, Unwant):
            self.journal.note(effect, effect.model, "")
            self._tell(effect.replica, Command("unwant", effect.model))
        elif isinstance(effect, Release):
            self._tell(effect.replica, Command("release", effect.model))
        elif isinstance(effect, PassPlace):
            self._tell(effect.replica, Command("pass"))
        elif isinstance(effect, Expect):
            self._tell(effect.replica, Command("expect", age_s=effect.in_s))

    def _want(self, effect: Want) -> Command:
        cause = self._cause
        if cause is None or cause.model != effect.model:  # a want that moved: of the oldest jobs, one that waits for it
            waiting = (job for job in islice(self.jobs.values(), SEARCHED_JOBS) if job.stream is None)
            cause = next((job for job in waiting if job.model == effect.model), None)
            if cause is not None and effect.kind == "cold":
                cause.cache = "load"  # it came when no replica could be asked
        data = encode_head(Cause(cause.request_id, cause.route_prefix)) if cause is not None else b"\xc0"
        return Command(
            "want", effect.model, effect.kind, effect.age_s, effect.waiting, effect.spare or "", data=Raw(data)
        )

    def _tell(self, replica: str, command: Command) -> None:
        """A replica without a link needs no word: ``ReplicaDown`` takes back all that was said to it."""
        link = self._link(replica)
        if link is not None:
            link.command(command)

    def _link(self, replica: str) -> Link | None:
        known = self.replicas.get(replica)
        link = known.link if known is not None else None
        return link if link is not None and link.alive else None

    def _dispatch(self, effect: Dispatch) -> None:
        job = self.jobs.get(effect.request)
        if job is None:
            self._events.append(RequestFinished(effect.request))
            return
        known = self.replicas.get(effect.replica)
        link = known.link if known is not None else None
        if link is None or not link.alive:
            self._events.append(ReplicaDown(effect.replica))
            return
        self.journal.note(effect, job.model, job.request_id)
        job.dispatch(link, effect.replica, effect.waited_s)
