"""Counters in lists, shown as Prometheus metrics."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.observe.metrics import OTHER_MODELS, Metrics, ModelLabels


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    body, content_type = metrics.expose()
    assert content_type.startswith("text/plain")
    families = text_string_to_metric_families(body.decode())
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def test_what_is_counted_is_scraped() -> None:
    metrics = Metrics()
    requests = metrics.counter("mux_requests_total", "Requests.", ("deployment", "status"))
    slot = requests.slot("Model", "200")
    requests.values[slot] += 2
    requests.add("Model", "500")
    seconds = metrics.histogram("mux_request_seconds", "Time.", ("deployment",), bounds=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.series("Model").observe(value)
    resident = 3
    metrics.gauge("mux_resident_models", "Models.", read=lambda: [((), resident)])
    assert samples(metrics) == {
        ("mux_requests_total", ("Model", "200")): 2,
        ("mux_requests_total", ("Model", "500")): 1,
        ("mux_request_seconds_bucket", ("Model", "0.1")): 2,
        ("mux_request_seconds_bucket", ("Model", "1.0")): 3,
        ("mux_request_seconds_bucket", ("Model", "+Inf")): 4,
        ("mux_request_seconds_count", ("Model",)): 4,
        ("mux_request_seconds_sum", ("Model",)): 7.65,
        ("mux_resident_models", ()): 3,
    }
    resident = 4
    assert samples(metrics)["mux_resident_models", ()] == 4
    assert metrics.documentation()["mux_requests_total"] == "Requests."


def test_a_name_is_given_once_and_labels_must_fit() -> None:
    metrics = Metrics()
    counter = metrics.counter("a_total", "A.", ("x",))
    with pytest.raises(ValueError, match="exists already"):
        metrics.histogram("a_total", "A.")
    with pytest.raises(ValueError, match="has the labels"):
        counter.add("1", "2")
    with pytest.raises(ValueError, match="has the labels"):
        metrics.histogram("b", "B.").series("1")


def test_model_labels_are_capped() -> None:
    labels = ModelLabels(limit=2)
    assert [labels.label(model) for model in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER_MODELS, "a", OTHER_MODELS]
