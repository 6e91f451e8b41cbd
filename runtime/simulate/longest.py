"""What took longest of everything that has been timed in a pool so far."""

from __future__ import annotations

from runtime.simulate.fates import Durations, Timing


class Longest:
    """The longest durations, in seconds, that ``noted`` has handed out."""

    def __init__(self, load_timeout_s: float) -> None:
        self._load_timeout_s = load_timeout_s
        self.load_s = 0.0  # a fetch and a load
        self.work_s = 0.0
        self.unload_s = 0.0
        self.delay_s = 0.0

    def noted(self, durations: Durations) -> Durations:
        """Return the same durations, of which every one that is asked for is noted."""
        fetch_s = 0.0

        def work(model: str | None) -> float:
            seconds = durations.work_s(model)
            self.work_s = max(self.work_s, seconds)
            return seconds

        def load(model: str) -> Timing:
            timing = durations.load(model)
            self.load_s = max(self.load_s, fetch_s + min(timing.seconds, self._load_timeout_s))
            return timing

        def fetch(model: str) -> Timing:
            nonlocal fetch_s
            timing = durations.fetch(model)
            fetch_s = max(fetch_s, min(timing.seconds, self._load_timeout_s))
            return timing

        def unload(model: str) -> float:
            seconds = durations.unload_s(model)
            self.unload_s = max(self.unload_s, seconds)
            return seconds

        def delay() -> float:
            seconds = durations.delay_s()
            self.delay_s = max(self.delay_s, seconds)
            return seconds

        return Durations(work_s=work, load=load, fetch=fetch, unload_s=unload, delay_s=delay)
