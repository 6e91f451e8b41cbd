"""What people feed to ``mux simulate`` and ``mux plan``: clocks of all kinds, quiet nights, no traces at all."""

from __future__ import annotations

import json
import random
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from runtime.errors import TraceError
from runtime.observe.logs import LogWriter
from runtime.observe.request_lines import Identity
from runtime.simulate.arrivals import Arrival
from runtime.simulate.curve import MissRatioCurve
from runtime.simulate.measured import measured
from runtime.simulate.result import Result as RunResult
from runtime.simulate.run import simulate
from runtime.simulate.shape import Shape, Span
from runtime.simulate.sizing import Target
from runtime.simulate.trace import Recorded
from tests.simulate.fakes import Listed


def read(folder: Path, text: str | bytes) -> list[Arrival]:
    path = folder / "t"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(Recorded(path))


def mux(*args: str) -> Result:
    from mux_cli.tree import root

    return CliRunner().invoke(root, list(args), prog_name="mux")


# --- clocks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1700000000,a\n1700000001.5,b\n",
        "1700000000000,a\n1700000001500,b\n",
        "1700000000000000,a\n1700000001500000,b\n",
        "1700000000000000000,a\n1700000001500000000,b\n",
        "time_ms,model\n0,a\n1500,b\n",
        "model,Timestamp_us\na,0\nb,1500000\n",
        '{"ts_ns": 0, "model": "a"}\n{"ts_ns": 1500000000, "model": "b"}\n',
        "t_s,model\n0,a\n1.5,b\n",
        "2024-05-01T12:00:00Z,a\n2024-05-01T12:00:01.5Z,b\n",
        "2024-05-01 12:00:00,a\n2024-05-01 12:00:01.500,b\n",
        '{"time": "2024-05-01T12:00:00Z", "model": "a"}\n{"time": "2024-05-01T14:00:01.5+02:00", "model": "b"}\n',
    ],
)
def test_times_are_seconds_whatever_their_unit_is(tmp_path: Path, text: str) -> None:
    first, second = read(tmp_path, text)
    assert (first.model, second.model) == ("a", "b")
    assert second.at - first.at == pytest.approx(1.5, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,a\n1e300,b\n", "t:2: '1e300' is neither"),
        ("\n\n1,a\n\nx,b\n", "t:5: 'x' is neither"),
        ("\n1,a\n2\n", "t:3: a row needs"),
        ("\n\nwhen,model\n1,a\n", "t:3: none of the columns at, time, ts, timestamp, t is there"),
        ("\n\ntime,model\n1,a\nx,b\n", "t:5: 'x' is neither"),
        (b"1,a\n\x89PNG,\x1a\x00\x00\x00IHDR,\x00\n", "t:2: this is no line of text"),
        (b"1,a\n2\r3,b\n", "t:2: this is no line of text"),
        ('1,a\n2,"' + "b" * 200_000 + '"\n', "t:2: field larger"),
        ("0,a\n1000,b\n900,c\n", "t:3: '900' is more than 60 s before a line above; sort the trace by time"),
        ('{"t": 100, "id": "a"}\n{"t": 1, "id": "b"}\n', "t:2: 1 is more than 60 s before a line above"),
    ],
)
def test_what_is_no_trace_is_told_with_the_line_of_the_file(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        read(tmp_path, text)
    assert said in caught.value.message


def test_lines_that_are_a_little_late_are_put_in_order(tmp_path: Path) -> None:
    assert [arrival.model for arrival in read(tmp_path, "5,c\r\n1,a\r\n3,b\r\n")] == ["a", "b", "c"]


def test_no_bytes_are_a_bug_of_mux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(1)
    for number in range(40):
        size = rng.choice([1, 7, 300, 5000])
        Path(f"{number}.csv").write_bytes(rng.choice([b"", b"1,a\n", b"{", b"\x1f\x8b", b'"']) + rng.randbytes(size))
        result = mux("plan", "--trace", f"{number}.csv")
        assert result.exit_code in (0, 2), result.output


# --- quiet times ----------------------------------------------------------------------------------------


def test_a_request_after_a_quiet_night_does_not_wait_for_ever() -> None:
    """Runs look every 10 s whether anything gets on; the first request of the day has waited since it came."""
    shape = Shape(replicas=1, slots=2, load_s=Span(20.0), swap_wait_s=0.0, drain_limit_s=1.0)
    result = simulate(shape, Listed(["a", "b", "a"], every_s=40_000.0), check=True)
    assert (result.requests, result.loads, result.failures) == (3, 2, 0)
    assert result.waits.max_s == pytest.approx(20.0, abs=0.01)


def test_a_quiet_age_costs_nothing() -> None:
    result = simulate(Shape(replicas=1), Listed(["a", "a"], every_s=9e9))
    assert (result.requests, result.hits) == (2, 1)
    assert result.events < 1000


# --- curves ---------------------------------------------------------------------------------------------


def lru_hits(models: Sequence[str | None], slots: int) -> int:
    held: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for model in models:
        if model is None:
            continue
        hits += model in held
        held.pop(model, None)
        held[model] = None
        if len(held) > slots:
            held.popitem(last=False)
    return hits


@pytest.mark.parametrize("seed", range(20))
def test_the_curve_is_brute_force_lru_on_any_trace(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.choice([1, 2, 5, 40, 300])
    names: list[str | None] = [*map(str, range(count)), None]
    models = rng.choices(names, [rng.random() ** 4 for _ in names], k=rng.choice([1, 10, 2500]))
    curve = MissRatioCurve.of(Listed(models))
    keyed = sum(model is not None for model in models)
    for slots in {1, 2, 3, 7, count // 2 + 1, count, count + 5}:
        assert curve.hit_rate(slots) * max(1, keyed) == pytest.approx(lru_hits(models, slots))
    assert curve.requests == keyed


@pytest.mark.parametrize(("exponent", "drift"), [(0.6, 0), (1.1, 0), (0.9, 7)])
def test_a_sample_of_two_thousand_models_draws_the_curve_within_half_a_point_on_average(
    exponent: float, drift: int
) -> None:
    from runtime.simulate.synthetic import Mix, Synthetic

    trace = Synthetic(Mix(8000, exponent, drift=drift), count=40_000, rate=1.0, seed=5)
    exact, sampled = MissRatioCurve.of(trace), MissRatioCurve.of(trace, sampled=2000)
    assert sampled.rate < 0.5
    errors = [abs(exact.hit_rate(slots) - sampled.hit_rate(slots)) for slots in range(50, exact.most, 50)]
    assert sum(errors) / len(errors) < 0.005
    assert max(errors) < 0.03


# --- what plan says -------------------------------------------------------------------------------------


def test_a_picture_that_cannot_be_written_is_a_usage_problem(tmp_path: Path) -> None:
    result = mux("plan", "--zipf", "1", "--clients", "2", "-n", "50", "--svg", str(tmp_path / "no" / "x.svg"))
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.stderr


def test_a_pool_without_limit_is_told_in_words() -> None:
    small = ("plan", "--zipf", "1", "--clients", "2", "-n", "300", "--models", "4", "--load-s", "0.01")
    assert "1 replica with unlimited slots." in mux(*small, "--slots", "-1", "--target-hit-rate", "0.5").stdout
    assert "with 1 slot each." in mux(*small, "--slots", "1", "--target-hit-rate", "0.5").stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("simulate", "--slots", "0"), "A replica without a slot serves no model."),
        (("plan", "--slots", "0"), "A replica without a slot serves no model."),
        (("simulate", "--load-s", "nan"), "--load-s 'nan' is no duration."),
        (("simulate", "--work-s", "0.1..inf"), "--work-s '0.1..inf' is no duration."),
        (("simulate", "--replicas", "100000000"), "10000"),
        (("plan", "--svg", "curve.png"), "--svg draws SVG, not what 'curve.png' promises."),
    ],
)
def test_absurd_numbers_and_names_are_usage_problems(args: tuple[str, ...], said: str) -> None:
    result = mux(*args, "--zipf", "1", "--clients", "2", "-n", "20")
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_long_title_fits_into_the_picture() -> None:
    from runtime.simulate.frame import LONGEST
    from runtime.simulate.svg import picture

    drawn = picture(MissRatioCurve.of(Listed(["a", "b", "a"])), f"Hit rate: /var{'/lib' * 40}/logs")
    [title] = [line for line in drawn.splitlines() if 'class="t"' in line]
    text = title.split(">")[1].split("<")[0]
    assert len(text) == LONGEST
    assert text.startswith("Hit rate: /var/lib")
    assert text.endswith("/lib/logs")


# --- what is measured, and what is met ------------------------------------------------------------------


def test_what_a_request_takes_is_measured_where_its_model_was_in_memory(tmp_path: Path) -> None:
    log = LogWriter(tmp_path / "router-0", Identity("router-0"))
    for cache, ms in (("load", 500.0), ("wait", 500.0), ("load", 500.0), ("hit", 12.0)):
        log.access(
            request_id="r", deployment="Model", route="/", model="a", method="GET", path="/", status=200, ms=ms,
            queue_ms=2.0, cache=cache, replica="Model#abc", client="",
        )  # fmt: skip
    log.close()
    assert measured(tmp_path).work_s == pytest.approx(0.010, rel=0.01)


def test_the_p99_is_that_of_99_in_100() -> None:
    result = RunResult("lru")
    for number in range(1000):
        result.waits.add(1.0 if number < 15 else 0.0)
    assert not Target(p99_s=0.5).met(result)
    assert Target(p99_s=1.1).met(result)


@pytest.mark.parametrize(("target", "label"), [(0.74, "75 %"), (0.25, ""), (0.24, "25 %"), (0.99, "100 %")])
def test_the_target_is_marked_at_its_height(target: float, label: str) -> None:
    from runtime.simulate import chart

    [marked] = [line for line in chart.lines(MissRatioCurve.of(Listed(["a", "a"])), target=target) if "◄" in line]
    assert marked.split("│")[0].strip() == label


def test_the_chosen_pool_is_marked_on_the_curve() -> None:
    from runtime.simulate import frame, svg

    curve = MissRatioCurve.of(Listed(list("abcdefgh" * 3)))
    drawn = svg.picture(curve, "t", chosen=8)
    [dot] = [line for line in drawn.splitlines() if line.startswith("<circle")]
    assert f'cx="{frame.WIDTH - frame.RIGHT:.1f}"' in dot


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("swap_wait_s", 0.25, "swap_wait_s"),
        ("drain_limit_s", 7.5, "drain_limit_s"),
        ("idle_unload_s", 12.0, "idle_unload_s"),
        ("load_timeout_s", 99.0, "load_timeout_s"),
        ("max_concurrent_loads", 3, "max_concurrent_loads"),
        ("max_model_bytes_per_replica", 1000, "max_bytes"),
        ("max_queued_requests", 11, "max_queued_requests"),
        ("eviction", "gdsf", "eviction"),
        ("preload", ["x"], "preload"),
        ("copies", 2, "copies"),
        ("routers", 3, "routers"),
    ],
)
def test_a_simulated_pool_is_the_one_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object, name: str
) -> None:
    http = {"port": 0, "routers": value} if key == "routers" else {"port": 0}
    deployment = {"name": "Model", "loader": "app:load", "num_replicas": 3}
    deployment |= {key: value} if key != "routers" else {}
    (tmp_path / "mux.yaml").write_text(json.dumps({"http": http, "deployments": [deployment]}))
    monkeypatch.chdir(tmp_path)
    if key == "eviction":
        found = json.loads(mux("plan", "mux.yaml", "--zipf", "1", "--clients", "2", "-n", "20", "--models", "2",
                               "--target-hit-rate", "0.1", "--json").stdout)  # fmt: skip
        assert found["trials"][0]["policy"] == value
        return
    args = ("--zipf", "1", "--clients", "2", "-n", "20", "--models", "2", "--policy", "lru", "--json")
    assert json.loads(mux("simulate", "mux.yaml", *args).stdout)["pool"][name] == value
