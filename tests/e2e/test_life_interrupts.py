"""Ctrl-C at every stage, and a deployment in the foreground that is asked to end."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.deployed import until
from tests.e2e.load import asking
from tests.e2e.rough import Rough, ended, rough

pytestmark = pytest.mark.process

YAML = """
deployments:
  - {name: Rough, loader: "app:load_model", handler: "app:predict", graceful_shutdown_timeout_s: 5}
"""
INTERRUPTED = 130


@pytest.fixture(scope="module")
def app() -> Iterator[Rough]:
    with rough(YAML) as running:
        yield running


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Return what the process says on stderr, up to the line that holds ``word``."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if word in line:
            return said
    raise AssertionError(f"it never said {word!r}: {said}")


def interrupted(process: subprocess.Popen[str]) -> str:
    """Press Ctrl-C and return the last words."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED, said
    assert "Traceback" not in said
    return said


def test_ctrl_c_while_deploying_stops_the_waiting_only(app: Rough) -> None:
    app.edit('handler: "app:predict"', 'handler: "app:predict", preload: [held-1]')
    deploying = app.cli.start("deploy")
    read_until(deploying, "loading model 'held-1'")
    assert interrupted(deploying) == "\nStopped waiting; the deployment goes on. See 'mux status'.\n"
    assert "loading model 'held-1'" in app.cli.run("status").stdout
    app.release("held-1")
    app.all_ready()
    assert app.ask(model="held-1").headers["x-mux-cache"] == "hit"


def test_a_deploy_that_takes_too_long_exits_with_6_and_goes_on(app: Rough) -> None:
    app.edit("held-1", "held-2")
    done = app.cli.run("deploy", "--timeout", "0.1", code=6)
    assert "error: It was not ready within 0.1 s; it goes on starting." in done.stderr
    app.release("held-2")
    app.all_ready()


@pytest.mark.parametrize(("command", "what"), [(["restart"], "the restart"), (["scale", "Rough=2"], "scaling")])
def test_ctrl_c_while_changing_stops_the_waiting_only(app: Rough, command: list[str], what: str) -> None:
    changing = app.cli.start(*command)
    read_until(changing, "is starting")
    assert interrupted(changing) == f"\nStopped waiting; {what} goes on. See 'mux status'.\n"
    app.all_ready()
    assert len(app.replicas()) == (2 if "scale" in command else 1)


def test_ctrl_c_in_a_request_cancels_it(app: Rough) -> None:
    asked = app.cli.start("request", "/hold?name=mine", "--model-id", "a")
    app.seen("begin mine")
    assert interrupted(asked) == "\nInterrupted.\n"
    app.seen("cancelled mine")


def test_ctrl_c_ends_following_the_logs(app: Rough) -> None:
    following = app.cli.start("logs", "-f")
    assert following.stdout is not None
    following.stdout.readline()
    assert interrupted(following) == "\nInterrupted.\n"


def test_ctrl_c_in_down_does_not_stop_the_shutdown(app: Rough) -> None:
    pids = app.pids()
    with asking(app.url, "/hold?name=last", "a") as last:
        app.seen("begin last")
        stopping = app.cli.start("down")
        read_until(stopping, "router-0 is draining")
        assert interrupted(stopping) == "\nStopped waiting; the shutdown goes on. See 'mux status'.\n"
        app.release("last")
        assert last.result().body == "last"
    until(lambda: ended(pids), "the end of all processes")
    assert "is not running" in app.cli.run("down").stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_foreground_drains_and_exits_with_0(app: Rough, number: signal.Signals) -> None:
    name = number.name
    app.release("held-2")
    foreground = app.cli.start("deploy", "--foreground")
    assert "Ctrl-C or SIGTERM stops it." in read_until(foreground, "is ready at")
    app.url, pids = app.cli.url(), app.pids()
    assert pids["supervisor"] == foreground.pid
    with asking(app.url, f"/hold?name={name}", "a") as answer:
        app.seen(f"begin {name}")
        foreground.send_signal(number)
        read_until_drains(app)
        app.release(name)
        assert answer.result()[:2] == (200, name)
    printed, said = foreground.communicate(timeout=20)
    assert foreground.returncode == 0, said
    assert said.endswith("is down.\n")
    assert "Loading model 'a'." in printed
    assert "The supervisor has stopped." in printed
    assert ended(pids)


def read_until_drains(app: Rough) -> None:
    until(lambda: "router-0 is draining" in app.cli.logs("supervisor", "-n", "3"), "the draining")
