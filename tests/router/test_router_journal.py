"""What a router tells of its decisions: in order, with candidates, and for a request no more than concerns it."""

from __future__ import annotations

import pytest

from runtime.core.decisions import Candidate, Decision
from runtime.core.events import Dispatch, Fail, Failure, Summary, Unwant, Want
from runtime.router.journal import HITS, LIMIT, Journal, Noted

WALL = 1_700_000_000.0


class Desk:
    """A journal with a hand-wound clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.decisions: list[Decision] = []
        self.journal = Journal(lambda: self.now, lambda: self.decisions, lambda: WALL + self.now)

    def note(self, at: float, effect: Noted, model: str = "m", request_id: str = "") -> None:
        self.now = at
        self.journal.note(effect, model, request_id)

    def lines(self, **about: str) -> list[str]:
        return [record["line"].split(" router-0: ")[1] for record in self.journal.records("router-0", **about)]


def want(replica: str, kind: str = "cold") -> Want:
    return Want(replica, "m", "cold" if kind == "cold" else "copy", 0.5, 2, case=120)


def test_a_request_is_told_from_the_want_that_brought_its_model() -> None:
    desk = Desk()
    desk.note(101.0, want("D#a"))
    desk.note(102.0, Dispatch(1, "D#a", "m", 1.0, case=109), request_id="first")
    desk.note(150.0, want("D#b"))
    desk.note(151.0, Unwant("D#b", "m", case=123))
    desk.note(152.0, want("D#b"))
    desk.note(153.0, want("D#c", "copy"), model="other")
    desk.note(160.0, Dispatch(2, "D#b", "m", 0.0, case=101), request_id="hit")
    desk.note(170.0, want("D#c"))
    assert [line.split(" (")[0].split(":")[0] for line in desk.lines(request_id="hit")] == [
        "model 'm' wanted on D#b",
        "request hit for model 'm' dispatched to D#b",
    ]
    assert len(desk.lines(request_id="first")) == 2
    assert len(desk.lines(model="m")) == 7
    assert desk.lines(request_id="never") == desk.lines(model="never") == []


def test_a_request_that_waited_is_told_with_the_wants_since_it_came() -> None:
    desk = Desk()
    desk.note(110.0, want("D#a"))
    desk.note(111.0, Unwant("D#a", "m", case=127))
    desk.note(112.0, want("D#b"))
    desk.note(115.0, Dispatch(1, "D#b", "m", 5.0, case=109), request_id="r")
    assert desk.lines(request_id="r") == [
        "model 'm' wanted on D#a (cold, 2 waiting): no replica has the model: wanted at the best by free place, "
        "free slots, wants, coldness and hash ring",
        "want of model 'm' on D#a taken back: the want has waited at a crowded or stuck replica: taken back to move",
        "model 'm' wanted on D#b (cold, 2 waiting): no replica has the model: wanted at the best by free place, "
        "free slots, wants, coldness and hash ring",
        "request r for model 'm' dispatched to D#b after 5.000 s: the model became resident: its waiting requests go "
        "to it",
    ]


def test_a_failure_says_what_failed() -> None:
    desk = Desk()
    desk.note(110.0, Fail(1, Failure("queue_full", "9 requests wait"), case=140), request_id="r")
    desk.note(111.0, Fail(2, Failure("no_replicas", ""), case=146), model="", request_id="q")
    assert desk.lines(request_id="r") == ["request r for model 'm' failed: the queue is full: 9 requests wait"]
    assert desk.lines(request_id="q") == ["request q failed: no replica has been up for too long"]


def test_a_want_is_told_with_its_candidates_and_by_the_wall_clock() -> None:
    desk = Desk()
    mine = (Candidate("D#a", Summary(free_slots=1)), Candidate("D#b", Summary(coldness=3)))
    desk.decisions = [
        Decision(109.0, 120, "m", "D#a", (Candidate("old", Summary()),)),
        Decision(109.99, 120, "m", "D#a", mine),
        Decision(110.5, 120, "m", "D#a", (Candidate("later", Summary()),)),
    ]
    desk.note(110.0, want("D#a"))
    desk.note(110.1, want("D#b"))
    desk.now = 120.0
    first, second = desk.journal.records("router-0", model="m")
    assert [(one["name"], one["free_slots"], one["coldness"]) for one in first["candidates"]] == [
        ("D#a", 1, 0),
        ("D#b", 0, 3),
    ]
    assert second["candidates"] == []
    assert (first["at"], first["age_s"]) == (WALL + 110.0, 10.0)
    assert first["line"][4] == "-"


@pytest.mark.parametrize("case", [142, 143])
def test_a_request_that_a_failed_load_is_to_blame_for_is_told_with_the_want_for_it(case: int) -> None:
    desk = Desk()
    desk.note(110.0, want("D#a"))
    desk.note(111.0, Fail(1, Failure("model_load_failed", "torn"), case=case), request_id="r")
    first, second = desk.lines(request_id="r")
    assert first.startswith("model 'm' wanted on D#a (cold, 2 waiting)")
    rule = "the model failed to load a short while ago" if case == 142 else "the load failed"
    assert second == f"request r for model 'm' failed: {rule}: torn"


def test_requests_that_found_their_model_push_no_other_out() -> None:
    desk = Desk()
    desk.note(101.0, want("D#a"))
    desk.note(102.0, Dispatch(1, "D#a", "m", 1.0, case=109), request_id="waited")
    for number in range(LIMIT + 1):
        desk.note(103.0 + number, Dispatch(number, "D#a", "m", 0.0, case=101), request_id=f"hit-{number}")
    assert len(desk.lines(request_id="waited")) == 2
    assert len(desk.lines(model="m")) == 2 + HITS
    assert desk.lines(request_id="hit-0") == []
    assert len(desk.lines(request_id=f"hit-{LIMIT}")) == 2
