"""Ctrl-C and keys, sent to the real command."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from runtime.observe.logs import Identity, LogWriter
from runtime.project import Project
from runtime.supervisor.api import Event
from tests.cli.fakes import FakeSupervisor

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0
PIPE = subprocess.PIPE


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "mux_cli", *args]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Set at the end, so that a fake's answer that waits for it always ends."""
    event = threading.Event()
    yield event
    event.set()


def test_ctrl_c_in_deploy_stops_the_waiting_and_says_so(supervisor: FakeSupervisor, held: threading.Event) -> None:
    def story() -> Iterator[Event]:
        yield Event(kind="start", process="Model#EjYmnQ")
        held.wait(DEADLINE_S)

    supervisor.answers["POST /v1/apply"] = story()
    with subprocess.Popen(command("deploy"), env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "Model#EjYmnQ: starting\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        held.set()
        assert process.wait(DEADLINE_S) == 130
    assert said == "\nStopped waiting; the deployment goes on. See 'mux status'.\n"


def test_following_logs_goes_on_until_ctrl_c(shop: Project) -> None:
    identity = Identity("Model#EjYmnQ", "default", "Model", "EjYmnQ")
    writer = LogWriter(shop.log_dir(identity.process), identity)
    writer.event("before")
    follow = command("logs", "-f", "Model")
    with subprocess.Popen(follow, env=environment(), stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith(" - before\n")
        writer.event("after")
        assert process.stdout.readline().endswith(" - after\n")
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "\nInterrupted.\n"
        assert process.wait(DEADLINE_S) == 130
    writer.close()


class Terminal:
    """The real command on a terminal of its own."""

    def __init__(self, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command(*args), env=environment(TERM="xterm"), stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while text not in self.shown:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} did not come in time: {self.shown[-2000:]!r}"
            self.shown += self._read()

    def _read(self) -> str:
        try:
            return os.read(self._ours, 65536).decode(errors="replace")
        except OSError:  # Linux reports the end of a terminal as EIO
            raise AssertionError(f"the command ended: {self.shown!r}") from None

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        os.close(self._ours)


@pytest.mark.parametrize("args", [("top",), ("status", "--watch")])
@pytest.mark.parametrize("way", ["key", "signal"])
def test_a_live_page_is_left_with_q_or_ctrl_c(supervisor: FakeSupervisor, args: tuple[str, ...], way: str) -> None:
    with Terminal(*args) as terminal:
        terminal.wait_for("Model#EjYmnQ")
        if way == "key":
            terminal.press("q")
        else:
            terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for("\x1b[?1049l")  # back on the ordinary screen
        assert terminal.process.wait(DEADLINE_S) == 0


def test_deploy_on_a_terminal_shows_a_live_line(supervisor: FakeSupervisor) -> None:
    supervisor.answers["POST /v1/apply"] = [
        Event(kind="start", process="Model#EjYmnQ"),
        Event(kind="progress", process="Model#EjYmnQ", message="downloading 1", fraction=0.5),
        Event(kind="ready", process="Model#EjYmnQ"),
        Event(kind="done"),
    ]
    with Terminal("deploy") as terminal:
        terminal.wait_for("'shop' is ready.")
        assert terminal.process.wait(DEADLINE_S) == 0
    assert "Model#EjYmnQ: ready" in terminal.shown
