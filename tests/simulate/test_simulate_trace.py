"""Traces: what the routers logged, JSON lines, CSV, gzip; what is wrong with a file is told with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from runtime.errors import TraceError
from runtime.observe.logs import LogWriter
from runtime.observe.request_lines import Identity
from runtime.simulate.arrivals import HOLD_S, Arrival, First, in_order
from runtime.simulate.measured import measured
from runtime.simulate.synthetic import Mix, Retimed, Synthetic
from runtime.simulate.trace import Recorded
from tests.simulate.fakes import Listed


def read(path: Path, deployment: str = "") -> list[Arrival]:
    return list(Recorded(path, deployment=deployment))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def access(log: LogWriter, model: str, ms: float, deployment: str = "Model", queue_ms: float = 0.0) -> None:
    log.access(
        request_id="r", deployment=deployment, route="/", model=model, method="GET", path="/", status=200, ms=ms,
        queue_ms=queue_ms, cache="hit", replica="Model#abc", client="",
    )  # fmt: skip


def router_log(folder: Path, lines: list[tuple[float, str, float]], deployment: str = "Model") -> Path:
    """Write what a router logs for (time of the answer, model, milliseconds)."""
    now = [0.0]
    log = LogWriter(folder, Identity(folder.name), clock=lambda: now[0])
    for now[0], model, ms in lines:
        access(log, model, ms, deployment)
    log.close()
    return folder


def test_a_routers_log_tells_when_requests_came_not_when_they_ended(tmp_path: Path) -> None:
    folder = router_log(tmp_path / "router-0", [(100.0, "quick", 10.0), (101.0, "slow", 5000.0), (102.0, "", 0.0)])
    arrivals = read(folder)
    assert [model for _, model in arrivals] == ["slow", "quick", None]
    assert [at for at, _ in arrivals] == pytest.approx([96.0, 99.99, 102.0])


def test_the_logs_of_several_routers_are_merged_and_those_of_replicas_passed_over(tmp_path: Path) -> None:
    router_log(tmp_path / "router-0", [(1.0, "a", 0.0), (3.0, "c", 0.0)])
    router_log(tmp_path / "router-1", [(2.0, "b", 0.0), (4.0, "d", 0.0)])
    replica = LogWriter(tmp_path / "Model#abc", Identity("Model#abc"))
    replica.started("r", "/", "a")
    replica.close()
    assert [model for _, model in read(tmp_path)] == ["a", "b", "c", "d"]


def test_one_deployment_of_a_log(tmp_path: Path) -> None:
    router_log(tmp_path / "router-0", [(1.0, "a", 0.0)], "Model")
    router_log(tmp_path / "router-1", [(2.0, "b", 0.0)], "Other")
    assert [model for _, model in read(tmp_path, "Other")] == ["b"]
    with pytest.raises(TraceError, match="no request of deployment 'Third'"):
        read(tmp_path, "Third")


def test_a_torn_line_and_requests_that_reached_no_deployment_are_passed_over(tmp_path: Path) -> None:
    folder = router_log(tmp_path / "router-0", [(1.0, "a", 0.0)])
    [path] = folder.glob("requests-*.jsonl")
    torn = path.read_bytes()[:-20]
    path.write_bytes(path.read_bytes() + torn + b"\n" + path.read_bytes().replace(b'"Model"', b'""'))
    assert [model for _, model in read(path)] == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "time,model\n1,a\n2.5,b\n3,\n",
        "1,a\n2.5,b\n3,\n",
        "\ufeffsize;model_id;timestamp\n7;a;1\n7;b;2.5\n7;;3\n",
        "1\ta\n\n2.5\tb\n3\t\n",
        '{"time": 1, "model": "a"}\n{"time": 2.5, "model": "b"}\n\n{"time": 3, "model": null}\n',
        '{"key": "a", "ts": "1"}\n{"ts": 2.5, "key": "b"}\n{"ts": 3}\n',
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_forms(tmp_path: Path, text: str, zipped: bool) -> None:
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    assert read(path) == [Arrival(1.0, "a"), Arrival(2.5, "b"), Arrival(3.0, None)]


def test_iso_times(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "time,model\n2024-05-01T12:00:00+00:00,a\n2024-05-01T12:00:01.5+00:00,b\n")
    first, second = read(path)
    assert second.at - first.at == 1.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,size\n1,2\n", "t:1: none of the columns model"),
        ("when,model\n1,2\n", "t:1: none of the columns at"),
        ("1,a\nsoon,b\n", "t:2: 'soon' is neither a number of seconds nor an ISO 8601 time"),
        ("1,a\nnan,b\n", "t:2: 'nan' is neither"),
        ("1,a\n2\n", "t:2: a row needs a time and a model"),
        ('{"time": 1, "model": "a"}\n{"time"\n', "t:2: "),
        ('{"time": 1, "model": "a"}\n[1]\n', "t:2: this is no JSON object"),
        ('{"time": true, "model": "a"}\n', "t:1: True is neither"),
        ('{"when": 1, "model": "a"}\n', "t:1: none of the keys at"),
        ('{"time": 1}\n', "t:1: none of the keys model"),
        ("", "there is no request in"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        read(write(tmp_path, "t", text))
    assert said in caught.value.message
    assert caught.value.hint


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read(tmp_path / "nowhere")


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"{n},{n * n}\n" for n in range(1000)).encode())
    (tmp_path / "t.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TraceError, match="damaged or cut short"):
        read(tmp_path / "t.gz")


def test_order_is_restored_within_what_is_held() -> None:
    late = Arrival(5.0, "late")
    lines = [(1.0, Arrival(1.0, "a")), (10.0, Arrival(10.0, "b")), (12.0, late)]
    assert [a.model for a in in_order(lines)] == ["a", "late", "b"]
    too_late = [*lines[:2], (10.0 + 2 * HOLD_S, Arrival(10.0 + 2 * HOLD_S, "c")), (0.0, late)]
    assert [a.at for a in in_order(too_late)] == [1.0, 10.0, 10.0, 10.0 + 2 * HOLD_S]


def test_what_the_logs_tell_of_times(tmp_path: Path) -> None:
    log = LogWriter(tmp_path / "router-0", Identity("router-0"))
    for ms in (10.0, 12.0, 300.0):
        access(log, "a", ms, queue_ms=2.0)
    access(log, "a", 77.0, deployment="Other")
    log.close()
    replica = LogWriter(tmp_path / "Model#abc", Identity("Model#abc", deployment="Model"))
    replica.event("Loaded model 'a'.", event="model.loaded", model="a", load_s=0.25, size_bytes=100)
    replica.close()
    [events] = (tmp_path / "Model#abc").glob("events-*.jsonl")
    events.write_bytes(events.read_bytes() + b'{"event":"model.loaded"\n')
    found = measured(tmp_path, deployment="Model")
    assert found.load_s == pytest.approx(0.25, rel=0.01)
    assert found.work_s == pytest.approx(0.010, rel=0.01)
    assert found.model_bytes == 100
    nothing = measured(write(tmp_path, "t.csv", "1,a\n"))
    assert (nothing.load_s, nothing.work_s, nothing.model_bytes) == (None, None, 0)


# --- drawn ----------------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_requests() -> None:
    trace = Synthetic(Mix(20, 1.0, hot=0.1, scan=0.1, drift=5), count=50, rate=10.0, seed=3)
    assert list(trace) == list(trace)
    assert list(trace) != list(Synthetic(Mix(20, 1.0, hot=0.1, scan=0.1, drift=5), count=50, rate=10.0, seed=4))


def test_another_rate_leaves_the_models_as_they_are() -> None:
    slow, quick = (Synthetic(Mix(20, 1.0), count=200, rate=rate, seed=3) for rate in (1.0, 100.0))
    assert [a.model for a in slow] == [a.model for a in quick]
    assert [a.at for a in quick][-1] == pytest.approx([a.at for a in slow][-1] / 100)


def test_mixes() -> None:
    def models(mix: Mix) -> list[str | None]:
        return [model for _, model in Synthetic(mix, count=4000, rate=1.0, seed=1)]

    assert models(Mix(10, 1.0)).count("0") > 2 * models(Mix(10, 0.0)).count("0")
    assert models(Mix(10, 0.0, hot=0.5)).count("hot") == pytest.approx(2000, rel=0.1)
    once = [model for model in models(Mix(10, 0.0, scan=0.5)) if model and model.startswith("once-")]
    assert len(once) == len(set(once)) == pytest.approx(2000, rel=0.1)
    drifting = models(Mix(10, 3.0, drift=1000))
    assert [max("0123", key=drifting[i : i + 1000].count) for i in (0, 1000, 2000, 3000)] == list("0123")
    assert Mix(3, 0.0, 0.1, 0.2, 7).name == (
        "uniform, over 3 models, 10% for one hot model, 20% for models never asked for again, "
        "ranks move every 7 requests"
    )


def test_a_trace_cut_and_retimed() -> None:
    trace = Retimed(First(Listed(["a", "b", "c"]), 2), rate=100.0, seed=1)
    first, second = list(trace)
    assert (first.model, second.model) == ("a", "b")
    assert second.at < 1.0
    assert list(trace) == [first, second]
