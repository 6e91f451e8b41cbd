"""``mux simulate`` and ``mux plan`` as a person types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

Run = Callable[..., Result]
SMALL = ("--models", "16", "-n", "300", "--load-s", "0.1", "--work-s", "0.005", "--replicas", "2", "--slots", "3")


@pytest.fixture
def mux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    from mux_cli.tree import root

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUX_HOME", str(tmp_path / "home"))
    return lambda *args: CliRunner().invoke(root, list(args), prog_name="mux")


def loads(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def config(folder: Path, more: str = "") -> Path:
    path = folder / "mux.yaml"
    path.write_text(
        f"""deployments:
  - name: Model
    loader: app:load
    num_replicas: 3
    max_num_models_per_replica: 2
    max_ongoing_requests: 7
    max_concurrent_loads: 2
    pin: ["p"]
{more}"""
    )
    return path


def test_every_policy_side_by_side(mux: Run) -> None:
    result = mux("simulate", "--zipf", "1.0", "--clients", "8", *SMALL)
    assert result.exit_code == 0
    rows = [line.split()[0] for line in result.stdout.splitlines()[:6]]
    assert rows == ["POLICY", "lru", "lfu", "gdsf", "pooled", "belady"]
    assert "zipf 1, over 16 models, seed 0, 8 clients" in result.stderr
    assert "2 replicas, 3 slots and 5 places each; a load takes 100 ms, a request 5 ms" in result.stderr


def test_one_policy_as_json_with_faults_and_checks(mux: Run) -> None:
    args = ("--rate", "100", "--policy", "gdsf", "--faults", "3", "--kill-every", "1", "--late-messages", "0", "--json")
    found = loads(
        mux("simulate", "--zipf", "0", *SMALL, *args, "--failing-loads", "0", "--slow-loads", "0.2", "--check")
    )
    [only] = found["policies"]
    assert only["policy"] == "gdsf"
    assert only["deaths"] > 0
    assert found["faults"]["kill_every_s"] == 1.0
    assert found["faults"]["slow_loads"] == 0.2
    assert [each["name"] for each in found["yardsticks"]] == ["pooled lru", "belady"]
    assert found["pool"]["replicas"] == 2


def test_a_config_and_a_trace(mux: Run, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time,model\n" + "".join(f"{n / 10},{n % 4}\n" for n in range(100)))
    args = ("simulate", str(config(tmp_path)), "--trace", str(trace), "--policy", "lru", "--json")
    found = loads(mux(*args))
    pool = found["pool"]
    assert (pool["replicas"], pool["slots"], pool["places"], pool["max_concurrent_loads"]) == (3, 2, 7, 2)
    assert pool["pin"] == ["p"]
    assert found["policies"][0]["requests"] == 100
    shorter = loads(mux(*args, "-n", "40", "--rate", "5", "--slots", "4", "--hot", "0"))
    assert (shorter["policies"][0]["requests"], shorter["pool"]["slots"]) == (40, 4)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("simulate",), "Say what the traffic is"),
        (("simulate", "--zipf", "1"), "When do the requests come"),
        (("simulate", "--zipf", "1", "--rate", "1", "--clients", "1"), "exclude each other"),
        (("simulate", "--zipf", "1", "--trace", "x"), "Say what the traffic is"),
        (("simulate", "--trace", "nowhere"), "There is no trace 'nowhere'"),
        (("simulate", "--zipf", "1", "--rate", "1", "--hot", "0.7", "--scan", "0.7"), "more than all"),
        (("simulate", "--zipf", "1", "--rate", "1", "--policy", "best"), "There are lru, lfu, gdsf"),
        (("plan", "--zipf", "1", "--rate", "1", "--policy", "best"), "There are lru, lfu, gdsf"),
        (("simulate", "--zipf", "1", "--rate", "1", "--load-s", "long"), "--load-s 'long' is no duration"),
        (("simulate", "mux.yaml", "--zipf", "1", "--rate", "1"), "Which one: Model, Second?"),
        (("simulate", "mux.yaml", "--zipf", "1", "--rate", "1", "--deployment", "X"), "has no deployment 'X'"),
        (("simulate", "mux.yaml", "--zipf", "1", "--rate", "1", "--deployment", "Second"), "several loaders"),
    ],
)
def test_what_does_not_say_enough_is_a_usage_problem(
    mux: Run, tmp_path: Path, args: tuple[str, ...], said: str
) -> None:
    config(
        tmp_path,
        "  - {name: Second, import_path: 'app:e', route_prefix: /b, max_num_models_per_replica: {get: 1, put: 2}}\n",
    )
    result = mux(*args)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_bad_trace_is_a_usage_problem_with_its_line(mux: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,a\nsoon,b\n")
    result = mux("simulate", "--trace", "t.csv")
    assert result.exit_code == 2
    assert "t.csv:2: 'soon'" in result.stderr


def test_a_story_is_replayed(mux: Run) -> None:
    result = mux("simulate", "--replay", "7")
    assert result.exit_code == 0
    assert "seed 7: " in result.stderr
    assert "Every invariant held at every step." in result.stderr
    assert loads(mux("simulate", "--replay", "7", "--json"))["requests"] > 0


# --- plan -----------------------------------------------------------------------------------------------


def test_the_curve_alone(mux: Run) -> None:
    result = mux("plan", "--zipf", "1.0", "--rate", "50", *SMALL)
    assert result.exit_code == 0
    assert "300 requests for 16 models. At best 94.7 % hit" in result.stdout
    assert "Name a target" in result.stdout


def test_the_smallest_pool_for_a_target(mux: Run, tmp_path: Path) -> None:
    args = ("plan", "--zipf", "1.0", "--rate", "50", *SMALL, "--target-hit-rate", "0.7", "--target-p99", "0.15")
    result = mux(*args, "--svg", "curve.svg", "--png", "curve.png")
    assert result.exit_code == 0
    assert "◄ 70 %" in result.stdout
    assert "The smallest pool in which 70 % of requests hit and 99 % begin within 150 ms:" in result.stdout
    assert "enough" in result.stderr
    assert (tmp_path / "curve.svg").read_text().startswith("<svg")
    with Image.open(tmp_path / "curve.png") as drawn:
        assert drawn.size == (1440, 840)
        assert (31, 111, 235) in {color for _, color in drawn.convert("RGB").getcolors(1 << 20) or []}, "the curve"
    found = loads(mux(*args, "--json", "--vary", "slots"))
    assert found["chosen"]["met"]
    assert found["chosen"]["replicas"] == 2
    assert found["curve"][-1]["hit_rate"] == found["best_hit_rate"]


def test_a_hit_rate_that_no_cache_has(mux: Run) -> None:
    args = ("plan", "--zipf", "1.0", "--clients", "4", *SMALL)
    assert "No pool reaches 99 % on this trace." in mux(*args, "--target-hit-rate", "0.99").stdout
    never = mux(*args, "--target-p99", "0")
    assert "No pool was found in which 99 % begin within 0 ms: not even" in never.stdout
    assert loads(mux(*args, "--target-hit-rate", "0.99", "--json"))["chosen"] is None
