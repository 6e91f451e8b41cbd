"""Changes of what runs, under load: nobody loses a request, and only what changed is touched."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deployed import until
from tests.e2e.load import Load, asking
from tests.e2e.rough import Rough, ended, rough

pytestmark = pytest.mark.process

YAML = """
deployments:
  - {name: Rough, loader: "app:load_model", handler: "app:predict", num_replicas: 2, load_timeout_s: 2}
  - {name: Other, loader: "app:load_model", handler: "app:predict", route_prefix: /other, load_timeout_s: 7}
"""


@pytest.fixture(scope="module")
def app() -> Iterator[Rough]:
    with rough(YAML) as running:
        yield running


class Following:
    """``mux logs -f``, read by a thread."""

    def __init__(self, app: Rough, *args: str) -> None:
        self.lines: list[str] = []
        self._process: subprocess.Popen[str] = app.cli.start("logs", "-f", "-n", "1", *args)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(self._process.stdout)

    def saw(self, word: str, times: int = 1) -> None:
        until(lambda: sum(word in line for line in [*self.lines]) >= times, f"{word!r} in the followed log")

    def end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._thread.join(20)
        self._process.communicate(timeout=20)


@pytest.fixture
def following(app: Rough) -> Iterator[Following]:
    follower = Following(app)
    follower.saw(" - ")
    yield follower
    follower.end()


@pytest.mark.parametrize("count", [3, 1, 2])
def test_scaling_drops_no_request(app: Rough, count: int) -> None:
    with Load(app.url) as load:
        app.cli.run("scale", f"Rough={count}")
        load.more()
    assert load.bad == {}
    assert [one["state"] for one in app.replicas()] == ["ready"] * count


def test_an_edit_rolls_only_what_it_changes_and_drops_no_request(app: Rough) -> None:
    before = app.pids()
    app.edit("load_timeout_s: 2", "load_timeout_s: 3")
    plan = app.cli.run("deploy", "--dry-run", code=10).stdout
    assert plan == "~ Rough: load_timeout_s 2s → 3s\n"
    assert app.pids() == before
    with Load(app.url) as load:
        app.cli.run("deploy")
        load.more()
    assert load.bad == {}
    after = app.pids()
    assert {name: pid for name, pid in after.items() if not name.startswith("Rough")} == {
        name: pid for name, pid in before.items() if not name.startswith("Rough")
    }
    assert not app.pids("Rough").keys() & before.keys()
    app.cli.run("deploy", "--dry-run", code=0)
    app.cli.run("deploy")
    assert app.pids() == after, "the same again touches nothing"


def test_a_rollout_that_fails_keeps_what_ran_and_drops_no_request(app: Rough) -> None:
    before = app.pids()
    generation = app.cli.status()["generation"]
    app.edit("load_timeout_s: 3", "load_timeout_s: 4, preload: [broken-1]")
    with Load(app.url) as load:
        done = app.cli.run("deploy", code=3)
        load.more()
    assert load.bad == {}
    assert "ValueError: the weights of broken-1 are torn" in done.stderr
    assert f"Generation {generation} goes on serving." in done.stderr
    assert app.pids() == before
    assert "did not start" in app.cli.run("status").stdout
    app.edit(", preload: [broken-1]", "")


def test_a_replica_that_dies_after_a_failed_rollout_comes_back(app: Rough) -> None:
    app.edit("CHUNK = ", "import nothing_like_it\nCHUNK = ", "app.py")
    app.cli.run("deploy", code=3)
    victim = next(iter(app.pids("Other").values()))
    subprocess.run(["kill", "-9", str(victim)], check=True)
    until(lambda: "could not start (import)" in str(app.replicas("Other")), "the first try")
    app.edit("import nothing_like_it\n", "", "app.py")
    until(lambda: [one["state"] for one in app.replicas("Other")] == ["ready"], "its return")


def test_a_restart_keeps_the_models_and_drops_no_request(app: Rough, following: Following) -> None:
    app.ask(model="a")
    before = app.pids("Rough")
    with Load(app.url) as load:
        app.cli.run("restart", "Rough")
        load.more()
    assert load.bad == {}
    assert not app.pids("Rough").keys() & before.keys()
    assert app.ask(model="a").headers["x-mux-cache"] == "hit", "preloaded by its successor"
    app.ask("/say?word=after-the-restart")
    following.saw("after-the-restart")
    assert len(re.findall(r" supervisor .* Rough#\w{6} is ready$", "".join(following.lines), re.M)) == 2


def test_following_the_logs_misses_nothing_when_they_rotate(app: Rough, following: Following) -> None:
    words = [f"word-{number:03d}" for number in range(290)]  # 17 MB, and a segment has 16 MiB
    for word in words:
        assert app.ask(f"/other/say?word={word}&dots=60000").status == 200
    following.saw(words[-1])
    printed = re.findall(r"- (word-\d+) ", "".join(following.lines))
    assert printed == words
    assert list(Path(app.cli.env["MUX_HOME"]).glob("projects/*/logs/Other-*/requests-000002.jsonl"))


def test_two_deploys_at_once_both_succeed(app: Rough) -> None:
    app.edit("load_timeout_s: 4", "load_timeout_s: 5")
    both = [app.cli.start("deploy") for _ in range(2)]
    for one in both:
        printed, said = one.communicate(timeout=60)
        assert (one.returncode, printed) == (0, f"{app.url}\n"), said
    assert len(app.replicas()) == 2


def test_down_answers_what_is_under_way_and_refuses_the_rest(app: Rough) -> None:
    pids = app.pids()
    with asking(app.url, "/hold?name=last", "a") as last, Load(app.url) as load:
        app.seen("begin last")
        stopping = app.cli.start("down")
        until(lambda: "router-0 is draining" in app.cli.logs("supervisor", "-n", "3"), "the draining")
        app.release("last")
        assert last.result()[:2] == (200, "last")
        assert stopping.wait(timeout=20) == 0
        stopping.communicate()
    assert set(load.bad) <= {"ConnectionRefusedError", "RemoteDisconnected", "ConnectionResetError"}, load.answers
    assert ended(pids)  # down returns when nothing runs any more


def test_the_logs_stay_when_all_is_down(app: Rough) -> None:
    assert "The supervisor has stopped." in app.cli.logs("-n", "1")
    assert "Unloading model 'a'." in app.cli.logs("--model", "a")
    assert "is not running" in app.cli.run("status", code=5).stderr


def test_a_deploy_that_meets_a_down_succeeds_or_says_so(app: Rough) -> None:
    app.cli.run("deploy")
    stopping, deploying = app.cli.start("down"), app.cli.start("deploy")
    _, said = deploying.communicate(timeout=60)
    stopping.communicate(timeout=60)
    assert stopping.returncode == 0
    assert deploying.returncode in (0, 5, 7), said
    assert "Traceback" not in said
