"""Pings every ready child and reports those that must end: the shell round ``health.py``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from runtime.link.control import Ping, Pong
from runtime.supervisor.health import Health, HealthLimits
from runtime.supervisor.worker import Worker

ROUTER_LIMITS: Final = HealthLimits(period_s=10.0, timeout_s=5.0, patience_s=30.0)  # it runs no user code


def limits_of(worker: Worker) -> HealthLimits:
    """Return how often a child is pinged; a replica may be silent for as long as one of its loads may take."""
    if worker.role == "router":
        return ROUTER_LIMITS
    timeout_s = float(worker.setting("health_check_timeout_s"))
    return HealthLimits(
        period_s=float(worker.setting("health_check_period_s")),
        timeout_s=timeout_s,
        patience_s=max(3 * timeout_s, float(worker.setting("load_timeout_s"))),
    )


class Checkup:
    """``on_suspect`` is told when a child falls silent or speaks again, ``on_verdict`` why one must end."""

    def __init__(
        self,
        on_suspect: Callable[[Worker], None],
        on_verdict: Callable[[Worker, str], None],
        clock: Callable[[], float],
    ) -> None:
        self._on_suspect = on_suspect
        self._on_verdict = on_verdict
        self._clock = clock
        self._health: dict[str, tuple[Health, asyncio.Event]] = {}  # the event: look now

    async def run(self, worker: Worker) -> None:
        """Ping one child until it ends, drains or must end."""
        health, answered = Health(limits_of(worker), self._clock()), asyncio.Event()
        self._health[worker.id] = (health, answered)
        try:
            while worker.phase == "ready" and not health.verdict:
                seq = health.tick(self._clock())
                self._suspect(worker, health.suspect)
                if seq is not None:
                    worker.send(Ping(seq=seq, health=worker.role == "replica"))
                if not health.verdict:
                    await self._pause(health, answered)
        finally:
            del self._health[worker.id]
        if health.verdict and worker.phase == "ready":
            self._on_verdict(worker, health.verdict)

    def look_again(self, worker: Worker) -> None:
        """Let a changed config hold for the pings from now on."""
        if worker.id in self._health:
            health, answered = self._health[worker.id]
            health.limits = limits_of(worker)
            answered.set()

    async def _pause(self, health: Health, answered: asyncio.Event) -> None:
        answered.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, health.deadline() - self._clock())):
                await answered.wait()

    def pong(self, worker: Worker, pong: Pong) -> None:
        """Take an answer."""
        if worker.id in self._health:
            health, answered = self._health[worker.id]
            health.pong(pong.seq, pong.healthy, pong.message, self._clock())
            self._suspect(worker, health.suspect)
            answered.set()

    def _suspect(self, worker: Worker, suspect: bool) -> None:
        if worker.suspect != suspect:
            worker.suspect = suspect
            self._on_suspect(worker)
