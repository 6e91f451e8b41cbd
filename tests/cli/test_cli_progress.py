"""How the events of a long command are shown, and what its last event becomes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from rich.console import Console

from mux_cli.progress import JsonLines, Lines, LivePage, display, follow, sentence
from runtime import errors
from runtime.supervisor.api import Event

STORY = [
    Event(kind="plan", changes=[{"sign": "+", "what": "Model", "why": "2 replicas"}]),
    Event(kind="start", process="Model#EjYmnQ"),
    Event(kind="progress", process="Model#EjYmnQ", message="downloading 1", fraction=0.11),
    Event(kind="progress", process="Model#EjYmnQ", message="downloading 1", fraction=0.14),
    Event(kind="progress", process="Model#EjYmnQ", message="downloading 1", fraction=0.52),
    Event(kind="warn", process="Model#EjYmnQ", message="[slow] disk"),
    Event(kind="ready", process="Model#EjYmnQ"),
    Event(kind="done", message="2 replicas"),
]


def test_lines_tell_each_step_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert follow(STORY, Lines()).kind == "done"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "+ Model: 2 replicas",
        "Model#EjYmnQ: starting",
        "Model#EjYmnQ: downloading 1 (11%)",
        "Model#EjYmnQ: downloading 1 (52%)",
        "warning: Model#EjYmnQ: [slow] disk",
        "Model#EjYmnQ: ready",
    ]


def test_json_lines_go_to_stdout_whole(capsys: pytest.CaptureFixture[str]) -> None:
    follow(STORY, JsonLines())
    out, err = capsys.readouterr()
    assert err == ""
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["kind"] for event in events] == [event.kind for event in STORY]
    assert events[4]["fraction"] == 0.52


def test_the_live_page_has_a_line_a_process_and_leaves_what_is_over() -> None:
    stream = io.StringIO()
    page = LivePage(console=Console(file=stream, width=100, force_terminal=True, markup=False, color_system=None))
    follow(STORY, page)
    shown = stream.getvalue()
    for words in ("+ Model: 2 replicas", "warning: Model#EjYmnQ: [slow] disk", "Model#EjYmnQ: ready"):
        assert words in shown


def test_a_failure_becomes_its_error_with_the_users_traceback() -> None:
    failed = Event(kind="failed", code="could_not_start", message="Model", hint="look", traceback="KeyError")
    with pytest.raises(errors.StartError) as caught:
        follow([STORY[0], failed], Lines())
    assert (caught.value.message, caught.value.hint, caught.value.traceback) == ("Model", "look", "KeyError")


def test_a_story_without_an_end_is_a_failure() -> None:
    with pytest.raises(errors.NotRunning, match="went away"):
        follow(STORY[:-1], Lines())


def test_a_page_is_taken_down_when_the_wait_is_broken_off() -> None:
    stream = io.StringIO()

    def broken() -> Iterator[Event]:
        yield STORY[1]
        raise KeyboardInterrupt

    page = LivePage(console=Console(file=stream, width=100, force_terminal=True))
    with pytest.raises(KeyboardInterrupt):
        follow(broken(), page)
    assert stream.getvalue().endswith("\x1b[2K")  # the live line was erased
    assert "\x1b[?25h" in stream.getvalue()  # and the cursor is visible again


def test_without_a_terminal_lines_are_shown() -> None:
    assert isinstance(display(as_json=False), Lines)
    assert isinstance(display(as_json=True), JsonLines)


def test_a_name_is_not_told_twice() -> None:
    event = Event(kind="start", process="router-0", message="router-0 is starting")
    assert sentence(event) == "router-0 is starting"


def test_a_plan_without_changes_says_its_message() -> None:
    assert sentence(Event(kind="plan", message="nothing to do")) == "nothing to do"
