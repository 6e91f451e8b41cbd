"""Keeps the machine's processors from deep sleep while requests come, where the config asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runtime.cpu_latency import CpuLatency
    from runtime.observe.logs import LogWriter

LINGER_S: Final = 5.0  # after the last request


class Wakefulness:
    """``handled``: how many requests and calls deployments were sent so far; looked at twice a second."""

    def __init__(
        self, latency: CpuLatency, handled: Callable[[], int], log: LogWriter, clock: Callable[[], float]
    ) -> None:
        self._latency = latency
        self._handled = handled
        self._log = log
        self._clock = clock
        self._seen = handled()
        self._used_at = clock()
        self._refused = False  # said once

    def look(self) -> None:
        """Hold the bound if there was something to do since the last look, release it if there was not for long."""
        now, handled = self._clock(), self._handled()
        if handled != self._seen:
            self._seen, self._used_at = handled, now
            self._hold()
        elif now - self._used_at >= LINGER_S:
            self._latency.release()

    def close(self) -> None:
        self._latency.release()

    def _hold(self) -> None:
        try:
            self._latency.hold()
        except OSError as exc:
            if not self._refused:
                self._refused = True
                self._log.event(f"The processors' latency could not be bounded: {exc}", level="WARNING")
