"""The asyncio shell round the residency: links, requests and the clock on one side, the pure brain on the other.

``apply`` hands one event to the residency and performs the effects it returns, in order, with no await between.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, Protocol

from runtime.core import events as brain
from runtime.core.decisions import Decision
from runtime.core.events import Key, ModelStatus, ReplicaLimits, ResidencyEffect, ResidencyEvent, Summary
from runtime.core.replica_state import ReplicaState
from runtime.link.connection import Link
from runtime.link.frames import CALL, END, CallHead, Command, Reply, RequestHead, State, decode_head
from runtime.link.handlers import StreamHandler
from runtime.link.stream import Stream
from runtime.observe.events import PROCESS_FAILED
from runtime.observe.logs import LogWriter
from runtime.replica.asking import Asking
from runtime.replica.call_server import CallWork
from runtime.replica.executor import Executor
from runtime.replica.journal import Journal
from runtime.replica.multiplex import Models
from runtime.replica.publisher import Publisher
from runtime.replica.request import HttpWork
from runtime.replica.router_link import RouterLink
from runtime.replica.servable import Servable
from runtime.replica.work import ENDED, Work

DEADLINE_SWEEP_S: Final = 0.05


class Brain(Protocol):
    """``runtime.core.residency.Residency``."""

    state: ReplicaState  # for those who ask; only ``handle`` changes it

    def handle(self, event: ResidencyEvent, now: float) -> list[ResidencyEffect]: ...

    def deadline(self) -> float | None: ...

    def snapshot(self, now: float) -> tuple[tuple[ModelStatus, ...], Summary]: ...

    def models(self) -> list[tuple[Key, ModelStatus, int, bool]]: ...

    def decisions(self) -> list[Decision]: ...


class Host:
    """Runs one replica's requests and models. Implements the link's ``LinkHandler``."""

    def __init__(
        self,
        residency: Brain,
        limits: ReplicaLimits,
        servable: Servable,
        writer: LogWriter,
        *,
        name: str,
        application: str,
        deployment: str,
        executor: Executor,
        base: Context,
        max_buffered_body_bytes: int,
        on_command: Callable[[Link, Command], None],
        on_fault: Callable[[str], None],
        router_link: RouterLink | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = clock
        self.residency = residency
        self.limits = limits
        self.servable = servable
        self.writer = writer
        self.name = name  # as in Model#EjYmnQ
        self.application = application
        self.deployment = deployment
        self.chain = (deployment,)  # of a request that came from outside: the deployments on its way
        self.executor = executor
        self.base = base  # the context that every request's own is a copy of
        self.max_buffered_body_bytes = max_buffered_body_bytes
        self.models: Models  # set by ``attach``: it reports to ``apply``
        self.publisher = Publisher()
        self.journal = Journal(name, time.time, lambda: residency.decisions(), clock)
        self.asking = Asking(self)
        self.works: dict[Any, Work] = {}  # offered or running, by the brain's name of the request
        self.links: dict[int, Link] = {}
        self._on_command = on_command
        self._on_fault = on_fault
        self._router_link = router_link  # for calls; closed with the rest
        self._pending: deque[ResidencyEvent] = deque()  # events that came while effects were performed
        self._performing = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._sweeper: asyncio.TimerHandle | None = None
        self.dying = False  # the event loop ends, and every work is cancelled with it
        self._changed: asyncio.Future[None] | None = None  # set whenever a request or a model task has ended
        self._perform: dict[type, Callable[[Any], None]] = {
            brain.Admit: self._admit,
            brain.Refuse: self._refuse,
            brain.OfferPlace: self._offer_place,
            brain.Give: self.asking.give,
            brain.Deny: self.asking.deny,
            brain.Fetch: self._fetch,
            brain.Load: self._load,
            brain.Unload: self._unload,
            brain.Publish: lambda effect: self.publisher.model(effect.status),
            brain.Withdrawn: self._withdrawn,
            brain.Summarise: lambda effect: self.publisher.summary(effect.summary),
            brain.Fault: lambda effect: self._on_fault(effect.why),
        }

    def __repr__(self) -> str:
        return f"<Host {self.deployment} works={len(self.works)} links={len(self.links)} {self.models!r}>"

    def set_limits(self, limits: ReplicaLimits, max_buffered_body_bytes: int) -> None:
        """Let new limits hold from now on."""
        self.limits = limits
        self.max_buffered_body_bytes = max_buffered_body_bytes
        self.apply(brain.ReplicaLimitsChanged(limits))

    # --- the brain ----------------------------------------------------------------------------------------

    def apply(self, event: ResidencyEvent) -> None:
        """Hand an event to the residency and perform what it answers."""
        if self._performing:
            self._pending.append(event)  # performed after the effects that are being performed
            return
        self._performing = True
        perform, residency = self._perform, self.residency
        try:
            for effect in residency.handle(event, self.now()):
                perform[type(effect)](effect)
            while self._pending:
                for effect in residency.handle(self._pending.popleft(), self.now()):
                    perform[type(effect)](effect)
        finally:
            self._performing = False
        due = residency.deadline()
        if due is not None and (self._timer is None or due < self._timer_at):
            self._arm(due)
        if self._changed is not None:
            self.changed()

    def changed(self) -> None:
        """Have ``until`` look again."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _arm(self, due: float) -> None:
        """Have the timer ring no later than the residency asks. A timer that rings early is harmless and cheaper."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self.loop.call_later(max(0.0, due - self.now()), self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.apply(brain.Woken())

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``condition`` holds, looked at after every event; return whether it does."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    if self._changed is None or self._changed.done():
                        self._changed = self.loop.create_future()
                    await asyncio.shield(self._changed)
        except TimeoutError:
            return condition()
        return True

    def close(self) -> None:
        """Stop the timers and let idle threads end."""
        for timer in (self._timer, self._sweeper):
            if timer is not None:
                timer.cancel()
        self._timer = self._sweeper = None
        self.executor.close()
        self.models.close()
        if self._router_link is not None:
            self._router_link.close()

    # --- effects ------------------------------------------------------------------------------------------

    def _admit(self, effect: brain.Admit) -> None:
        work = self.works[effect.request]
        model = effect.model or ""
        self.journal.note_request(effect, model, work.context.request_id)
        load_s = self.models.load_s.get(Key(0, model), 0.0) if model and work.router_cache else 0.0
        if effect.hit:
            work.leased = self.models.objects.get(Key(0, model))
        work.admit(effect.hit, load_s)

    def _refuse(self, effect: brain.Refuse) -> None:
        work = self.works.pop(effect.request)
        self.journal.note(effect, work.context.model_id, work.context.request_id)
        work.refuse(effect.why, effect.failure)

    def _offer_place(self, effect: brain.OfferPlace) -> None:
        self._command(effect.link, Command("place"))

    def _withdrawn(self, effect: brain.Withdrawn) -> None:
        self.journal.note(effect, effect.model)
        self._command(effect.link, Command("withdrawn", effect.model))

    def _fetch(self, effect: brain.Fetch) -> None:
        self.journal.note(effect, effect.key.model)
        self.models.fetch(effect.key)

    def _load(self, effect: brain.Load) -> None:
        self.journal.note(effect, effect.key.model)
        self.models.load(effect.key)

    def _unload(self, effect: brain.Unload) -> None:
        self.journal.note(effect, effect.key.model)
        self.models.unload(effect.key, effect.why, effect.room_for)

    def _command(self, link: int, command: Command) -> None:
        found = self.links.get(link)
        if found is not None and found.alive:
            found.command(command)

    # --- works --------------------------------------------------------------------------------------------

    def ended(self, work: Work) -> None:
        """A work is over: its place and its leases go back."""
        if self.works.pop(work.key, None) is not None:
            self.apply(brain.Ended(work.key))

    def unexpected(self, exc: BaseException, doing: str) -> None:
        """Log what should not have happened, with its whole traceback."""
        text = "".join(traceback.format_exception(exc)).rstrip()
        self.writer.event(f"{doing}: {text}", level="ERROR", event=PROCESS_FAILED)

    def cancel_all(self, why: str) -> None:
        for work in list(self.works.values()):
            work.cancel(why)

    def _watch_deadline(self) -> None:
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(DEADLINE_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Cancel what is over its deadline. The router does so too, and first; this is for when it cannot."""
        self._sweeper = None
        now = self.now()
        timed = [work for work in self.works.values() if work.deadline]
        for work in timed:
            if work.deadline + DEADLINE_SWEEP_S <= now:
                work.cancel("request_timeout")
        if timed:
            self._watch_deadline()

    # --- LinkHandler --------------------------------------------------------------------------------------

    def opened(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> StreamHandler:
        work: Work
        if kind == CALL:
            work = CallWork(self, stream, decode_head(CallHead, payload), bool(flags & END))
        else:
            work = HttpWork(self, stream, decode_head(RequestHead, payload), bool(flags & END))
        key = work.key
        self.works[key] = work
        if work.deadline:
            self._watch_deadline()
        self.apply(brain.Offered(key[0], key, work.model))
        if work.ended:
            return ENDED
        work.waited = work.task is None
        return work

    def connected(self, link: Link) -> None:
        self.links[link.id] = link
        self.apply(brain.LinkUp(link.id))
        self.publisher.add(link, *self.residency.snapshot(self.now()))

    def lost(self, link: Link, why: str) -> None:
        self.links.pop(link.id, None)
        self.publisher.remove(link)
        self.apply(brain.LinkDown(link.id))

    def command(self, link: Link, command: Command) -> None:
        verb = command.verb
        if verb == "want":
            self.models.log.wanted(Key(0, command.model), bytes(command.data))
            self.apply(
                brain.Wanted(
                    link.id, command.model, _want_kind(command.kind), command.age_s, command.waiting,
                    command.spare or None,
                )
            )  # fmt: skip
        elif verb == "unwant":
            self.models.log.forget(Key(0, command.model))
            self.apply(brain.Unwanted(link.id, command.model))
        elif verb == "release":
            self.apply(brain.Released(link.id, command.model))
        elif verb == "pass":
            self.apply(brain.PlacePassed(link.id))
        elif verb == "expect":
            self.apply(brain.Expected(link.id, command.age_s))
        else:
            self._on_command(link, command)

    def state(self, link: Link, state: State) -> None:
        """A router has no state to tell."""

    def reply(self, link: Link, reply: Reply) -> None:
        """Nothing is asked of a router that it would reply to."""

    def goaway(self, link: Link, reason: str) -> None:
        """The router opens nothing more; what it has open goes on."""


def _want_kind(kind: str) -> brain.WantKind:
    return "copy" if kind == "copy" else "admin" if kind == "admin" else "cold"
