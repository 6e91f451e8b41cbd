"""The line a person reads."""

from __future__ import annotations

import re
import time

import pytest

from runtime.observe.record import LogRecord
from runtime.observe.text import escape, render, replica_colour

TS = 1684891143.854


def line(*, colour: bool = False, **fields: object) -> str:
    record = {
        "ts": TS,
        "app": "default",
        "deployment": "Model",
        "replica": "EjYmnQ",
        "process": "Model#EjYmnQ",
        "request_id": "CUpzhwUUNw",
        "route": "/",
        "file": "multiplex.py",
        "line": 131,
        "msg": "Loading model '1'.",
    } | fields
    return render(LogRecord(**record), colour, localtime=time.gmtime)  # type: ignore[arg-type]


def test_a_replicas_line_has_ray_serves_form() -> None:
    assert line() == (
        "INFO 2023-05-24 01:19:03,854 default_Model default_Model#EjYmnQ CUpzhwUUNw / default "
        "multiplex.py:131 - Loading model '1'."
    )


def test_other_processes_keep_the_columns() -> None:
    record = LogRecord(ts=TS, process="supervisor", file="main.py", line=3, msg="Ready.")
    assert render(record, localtime=time.gmtime) == "INFO 2023-05-24 01:19:03,854 - supervisor - - - main.py:3 - Ready."
    access = line(process="router-0", file="front.py", line=9, msg="GET / 200 1.0ms")
    assert access.split()[3:9] == ["default_Model", "router-0", "CUpzhwUUNw", "/", "default", "front.py:9"]


def test_a_traceback_is_indented_below_its_line() -> None:
    assert line(msg="failed\nTraceback:\n  File x\n").splitlines()[1:] == ["    Traceback:", "      File x"]


@pytest.mark.parametrize("field", ["msg", "request_id", "route", "model", "file", "process", "level", "deployment"])
def test_no_field_can_forge_a_line_or_reach_the_terminal(field: str) -> None:
    evil = "x\r\nERROR 2023 forged\x1b[2J\x9b2J\u2028\u202e\x00\x7f\udc80"
    shown = line(**{field: evil})  # type: ignore[arg-type]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\udc80]", shown)
    assert all(follow.startswith("    ") for follow in shown.splitlines()[1:])
    if field != "msg":
        assert "\n" not in shown
        assert len(line().split(" - ")[0].split()) == len(shown.split(" - ")[0].split())


def test_tabs_and_letters_of_all_scripts_stay() -> None:
    assert escape("Größe\t名前 \x1b") == "Größe\t名前 \\x1b"


def test_a_replica_has_one_colour_for_life() -> None:
    assert replica_colour("default_Model#EjYmnQ") == replica_colour("default_Model#EjYmnQ")
    assert len({replica_colour(f"default_Model#{number}") for number in range(50)}) > 4
    plain = re.sub("\x1b\\[[0-9;]*m", "", line(colour=True))
    assert plain == line()


def test_a_time_no_calendar_holds_is_shown_as_a_number() -> None:
    assert "@1" in line(ts=1e20)
