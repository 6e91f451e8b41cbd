"""The tallies as Prometheus families. prometheus-client is imported at the first scrape, and works only then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runtime.router.tally import BOUNDS_MS, Histogram, Tally

if TYPE_CHECKING:
    from runtime.router.desk import Desk
    from runtime.router.fleet import Fleet

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """A collector in a registry of its own."""

    def __init__(self, fleet: Fleet, desk: Desk) -> None:
        self._fleet = fleet
        self._desk = desk
        self._registry: Any = None

    def scrape(self) -> bytes:
        """Return everything in the text format."""
        from prometheus_client import CollectorRegistry, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        yield from self._requests()
        yield from self._latencies()
        yield from self._state()

    def _tallies(self) -> list[tuple[str, Tally]]:
        return [*((name, pool.tally) for name, pool in self._fleet.pools.items()), ("", self._desk.unrouted)]

    def _requests(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily as Counter

        answered = Counter("mux_requests", "Requests by status.", labels=["deployment", "status"])
        cache = Counter("mux_model_requests", "Requests by how their model was found.", labels=["deployment", "cache"])
        models = Counter("mux_requests_by_model", "Requests per model; the rarer ones as other.",
                         labels=["deployment", "model"])  # fmt: skip
        failed = Counter("mux_scheduler_failures", "Requests that the scheduler gave up.", labels=["deployment"])
        calls = Counter("mux_calls", "Calls by deployment handles.", labels=["deployment"])
        for name, tally in self._tallies():
            calls.add_metric([name], tally.calls)
            for status, count in sorted(tally.by_status.items()):
                answered.add_metric([name, str(status)], count)
            for kind, count in tally.by_cache.items() if name else ():
                cache.add_metric([name, kind], count)
            for model, count in tally.by_model.items():
                models.add_metric([name, model], count)
            failed.add_metric([name], tally.failed)
        yield from (answered, cache, models, failed, calls)

    def _latencies(self) -> Iterator[Any]:
        from prometheus_client.core import HistogramMetricFamily as Family

        latency = Family("mux_request_seconds", "From a request's head to its answer's end.", labels=["deployment"])
        queued = Family("mux_queue_seconds", "How long requests waited for a replica.", labels=["deployment"])
        for name, tally in self._tallies():
            latency.add_metric([name], _buckets(tally.latency), tally.latency.total_ms / 1000)
            queued.add_metric([name], _buckets(tally.queued), tally.queued.total_ms / 1000)
        yield from (latency, queued)

    def _state(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily as Gauge

        waiting = Gauge("mux_queued_requests", "Requests that wait in this router.", labels=["deployment"])
        running = Gauge("mux_running_requests", "Requests of this router on replicas.", labels=["deployment"])
        up = Gauge("mux_replicas_up", "Replicas that this router is connected to.", labels=["deployment"])
        resident = Gauge("mux_resident_models", "Models in memory.", labels=["deployment", "replica"])
        for name, pool in self._fleet.pools.items():
            queued = pool.queued
            waiting.add_metric([name], queued)
            running.add_metric([name], len(pool.jobs) - queued)
            up.add_metric([name], sum(1 for replica in pool.replicas.values() if replica.link is not None))
            for replica in pool.replicas.values():
                count = sum(1 for status in replica.models.values() if status.state == "resident")
                resident.add_metric([name, replica.entry.id], count)
        yield from (waiting, running, up, resident)


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return cumulative buckets in seconds, as the text format wants them."""
    total, buckets = 0, []
    for bound, count in zip((*BOUNDS_MS, None), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound is None else repr(bound / 1000), float(total)))
    return buckets
