"""Runs: the same seed is the same run, waits and hits are what they should be, faults happen, sizes are found."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest

from runtime.simulate import chart, report
from runtime.simulate.belady import belady
from runtime.simulate.curve import MissRatioCurve
from runtime.simulate.faults import Faults
from runtime.simulate.histogram import Histogram
from runtime.simulate.invariants import InvariantBroken
from runtime.simulate.result import Result
from runtime.simulate.run import Run, simulate
from runtime.simulate.shape import Shape, Span
from runtime.simulate.sizing import Target, Trial, at_once, smallest_pool
from runtime.simulate.svg import picture
from runtime.simulate.synthetic import Mix, Synthetic
from tests.simulate.fakes import Listed

ZIPF = Shape(replicas=4, slots=4, load_s=Span(0.1), work_s=Span(0.005))
TRACE = Synthetic(Mix(64, 1.0), count=600, rate=50.0, seed=1)


def without_cpu(result: Result) -> dict[str, object]:
    return {key: value for key, value in result.to_dict().items() if key != "cpu_s"}


def test_one_request_waits_for_its_load_and_the_next_does_not() -> None:
    shape = Shape(replicas=1, slots=1, load_s=Span(0.5), work_s=Span(0.1), delay_s=0.001)
    result = simulate(shape, Listed(["a", "a", "b"], every_s=10.0), check=True)
    assert (result.requests, result.keyed, result.hits, result.loads, result.evictions) == (3, 3, 1, 2, 1)
    assert result.waits.max_s == pytest.approx(0.503, abs=0.0005)  # want, loaded, dispatch: a message each
    assert result.waits.percentile(0.0) == pytest.approx(0.001, rel=0.01)
    assert result.latencies.max_s == pytest.approx(0.604, abs=0.0005)
    assert result.seconds == pytest.approx(20.604, abs=0.001)
    assert result.loads_per_100 == pytest.approx(66.7, abs=0.1)
    assert result.failures == 0


def test_requests_without_a_model_load_nothing() -> None:
    result = simulate(Shape(), Listed([None, None]), check=True)
    assert (result.requests, result.keyed, result.loads, result.hit_rate) == (2, 0, 0, 1.0)


@pytest.mark.parametrize("clients", [None, 8])
def test_the_same_seed_is_the_same_run(clients: int | None) -> None:
    faults = Faults(kill_every_s=2.0, slow_loads=0.1, failing_loads=0.05, late_messages=0.05, leaving=0.05)
    runs = [simulate(ZIPF, TRACE, clients=clients, seed=seed, faults=faults) for seed in (1, 1, 2)]
    assert without_cpu(runs[0]) == without_cpu(runs[1]) != without_cpu(runs[2])
    assert runs[0].requests == 600
    assert runs[0].deaths > 0
    assert runs[0].failed["model_load_failed"] > 0
    assert runs[0].failed["client_gone"] > 0
    assert runs[0].failures == sum(runs[0].failed.values()) - runs[0].failed["client_gone"]


def test_a_flood_of_made_up_ids_leaves_the_warm_set_without_a_source() -> None:
    """Half of all requests are for ids that no loader knows: they take one slot of each replica, not one per permit."""
    trace = Synthetic(Mix(8, 0.7, scan=0.5), count=3000, rate=100.0, seed=0)
    loads = []
    for permits in (1, 4):
        shape = Shape(replicas=2, slots=4, load_s=Span(0.1), work_s=Span(0.005), max_concurrent_loads=permits)
        result = simulate(shape, trace, faults=Faults(made_up=1.0), check=True)
        assert set(result.failed) == {"model_not_found"}
        assert result.waits.max_s < 0.25
        loads.append(result.loads - result.failures)
    assert loads[1] < 1.2 * loads[0]


def test_checking_changes_nothing() -> None:
    assert without_cpu(simulate(ZIPF, TRACE, check=True)) == without_cpu(simulate(ZIPF, TRACE))


def test_a_closed_loop_has_no_more_requests_under_way_than_clients() -> None:
    result = simulate(Shape(work_s=Span(1.0), load_s=Span(0.0)), Listed(["a"] * 10), clients=2)
    assert result.requests == 10
    assert result.seconds == pytest.approx(5.0, abs=0.1)


def test_preloaded_and_pinned_models_are_hits_from_the_first_request() -> None:
    trace = Listed(["x", "a", "b"], every_s=2.0)
    result = simulate(Shape(replicas=1, preload=("a",), pin=("b",)), trace, check=True)
    assert (result.hits, result.loads) == (2, 3)


def test_two_routers_share_a_pool() -> None:
    result = simulate(replace(ZIPF, routers=2), TRACE, clients=8, check=True)
    assert result.requests == 600
    assert not result.failed


def test_what_is_never_answered_is_told() -> None:
    run = Run(replace(ZIPF, load_timeout_s=1e9), Listed(["a"]))
    run.pool.durations.delay_s = lambda: 1e9
    with pytest.raises(InvariantBroken, match="1 requests wait for ever"):
        run.run()


def test_every_policy_is_told_beside_the_yardsticks() -> None:
    result = simulate(ZIPF, TRACE)
    assert len(report.heading()) == len(report.row(result)) == len(report.yardstick_row(belady(TRACE, 16)))
    assert report.row(result).split()[0] == "lru"
    assert "16 slots" in report.footnote(16)
    assert "unlimited slots" in report.footnote(-1)
    assert [report.brief(s) for s in (0.0012, 0.25, 12.34, 4321.0)] == ["1.2 ms", "250 ms", "12.3 s", "4321 s"]


def test_shapes_and_spans() -> None:
    assert replace(ZIPF, slots=-1).pooled_slots == -1
    assert str(replace(ZIPF, slots=-1, routers=2)) == (
        "4 replicas, unlimited slots and 5 places each, 2 routers; a load takes 100 ms, a request 5 ms"
    )
    span = Span.parse("0.1..10")
    assert (span.drawn(0.0), span.drawn(0.5), span.drawn(1.0)) == pytest.approx((0.1, 1.0, 10.0))
    assert span.of("a") == span.of("a") != span.of("b")
    assert span.mean == pytest.approx(9.9 / 4.605, rel=0.001)
    assert (str(span), str(Span(2.0)), Span(2.0).mean, Span(0.0, 2.0).mean) == ("100 ms to 10 s", "2 s", 2.0, 1.0)
    for wrong in ("x", "3..1", "-1", "1..x"):
        with pytest.raises(ValueError, match=r".*"):
            Span.parse(wrong)


def test_faults_in_words() -> None:
    assert str(Faults()) == "nothing goes wrong"
    assert not Faults()
    assert Faults.drawn(1) == Faults.drawn(1)
    assert len({str(Faults.drawn(seed)) for seed in range(20)}) > 10


def test_percentiles_are_right_within_a_hundredth() -> None:
    histogram = Histogram()
    values = [0.0, 0.0, *(sqrt(number) / 10 for number in range(1, 999))]
    for value in values:
        histogram.add(value)
    for share in (0.0, 0.1, 0.5, 0.9, 0.99):
        assert histogram.percentile(share) == pytest.approx(sorted(values)[int(share * 1000)], rel=0.01)
    assert histogram.percentile(1.0) == pytest.approx(histogram.max_s, rel=0.01)
    assert histogram.to_dict()["max"] == pytest.approx(max(values), rel=1e-4)
    assert histogram.mean_s == pytest.approx(sum(values) / 1000)
    assert Histogram().percentile(0.5) == Histogram().mean_s == 0.0


# --- sizes ----------------------------------------------------------------------------------------------


def sized(
    target: Target, shape: Shape = ZIPF, vary: str = "replicas"
) -> tuple[list[tuple[int, int, bool]], Shape | None]:
    """Return (replicas, slots, met) of each trial, and the pool that was chosen."""
    told: list[Trial] = []
    found = smallest_pool(
        shape, target, MissRatioCurve.of(TRACE), lambda tried: simulate(tried, TRACE), at_once=at_once(TRACE, shape),
        vary="slots" if vary == "slots" else "replicas", told=told.append,
    )  # fmt: skip
    assert told == found.trials
    trials = [(trial.shape.replicas, trial.shape.slots, trial.met) for trial in told]
    return trials, found.chosen.shape if found.chosen is not None else None


@pytest.mark.parametrize("vary", ["replicas", "slots"])
@pytest.mark.parametrize("target", [Target(hit_rate=0.8), Target(p99_s=0.15), Target(hit_rate=0.5, p99_s=0.11)])
def test_the_smallest_pool_is_met_and_the_next_smaller_is_not(target: Target, vary: str) -> None:
    trials, chosen = sized(target, vary=vary)
    assert chosen is not None
    column = 0 if vary == "replicas" else 1
    size = (chosen.replicas, chosen.slots)[column]
    verdicts = {trial[column]: trial[2] for trial in trials}
    assert len(verdicts) == len(trials)
    assert verdicts[size]
    assert size == 1 or not verdicts[size - 1]
    assert size == min(each for each, met in verdicts.items() if met)


@pytest.mark.parametrize("vary", ["replicas", "slots"])
def test_a_target_beyond_every_pool_ends_the_search(vary: str) -> None:
    trials, chosen = sized(Target(p99_s=0.0), replace(ZIPF, slots=16), vary)
    assert chosen is None
    assert not any(met for _, _, met in trials)
    assert len(trials) < 12


def test_failures_meet_no_target() -> None:
    result = Result("lru")
    assert Target(hit_rate=0.0).met(result)
    result.failed["queue_full"] = 1
    assert not Target(hit_rate=0.0).met(result)
    assert str(Target(0.95, 0.2)) == "95 % of requests hit and 99 % begin within 200 ms"


def test_the_work_at_once_is_rate_times_time() -> None:
    assert at_once(TRACE, ZIPF) == pytest.approx(0.25, rel=0.1)
    assert at_once(Listed(["a"]), ZIPF) == 1.0


def test_the_chart_marks_target_and_choice() -> None:
    curve = MissRatioCurve.of(TRACE)
    drawn = chart.lines(curve, target=0.8, chosen=16)
    assert drawn[1].lstrip().startswith("100 %")
    assert sum("◄ 80 %" in line for line in drawn) == 1
    assert drawn[-1].strip() == "▲ 16"
    assert drawn[-1].index("▲") == drawn[-2].index("16")
    assert len(chart.lines(curve)) == len(drawn) - 1
    assert sum("◄ 100 %" in line for line in chart.lines(curve, target=1.0)) == 1


def test_the_picture_is_svg() -> None:
    from xml.etree import ElementTree

    curve = MissRatioCurve.of(TRACE)
    for chosen in (2, 60, None):
        root = ElementTree.fromstring(picture(curve, "a < b & c", target=0.8, chosen=chosen))
        texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
        assert texts[0] == "a < b & c"
        assert "target 80 %" in texts
        assert (f"{chosen} slots" in texts) == (chosen is not None)
    assert "target" not in picture(MissRatioCurve.of(Listed([])), "empty")


@pytest.mark.parametrize("load_s", [0.0005, 0.001, 0.01])
def test_as_many_models_as_slots_are_loaded_once_each_however_quick_the_loads(load_s: float) -> None:
    shape = Shape(replicas=2, slots=2, places=8, load_s=Span(load_s, load_s), work_s=Span(0.001, 0.001))
    for seed in range(20):
        traffic = Synthetic(Mix(models=4, exponent=0.0), count=100, rate=1000.0, seed=seed)
        assert simulate(shape, traffic, clients=8, seed=seed).loads == 4, f"seed {seed}"
