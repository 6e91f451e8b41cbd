"""What a replica tells of its decisions: in order, in words, with candidates, also of models that yield."""

from __future__ import annotations

from runtime.core.decisions import Candidate, Decision
from runtime.core.events import (
    Admit,
    Deny,
    Failure,
    Fault,
    Fetch,
    Give,
    Key,
    Load,
    Refuse,
    ResidencyEffect,
    Unload,
    Withdrawn,
)
from runtime.core.eviction import Standing
from runtime.replica.journal import HITS, LIMIT, Journal

SHIFT = 1_700_000_000.0  # between the brain's clock and the wall's


class Diary:
    """A journal with a hand-wound clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.decisions: list[Decision] = []
        self.journal = Journal("D#a", lambda: SHIFT + self.now, lambda: self.decisions, lambda: self.now)

    def move(self, at: float, effect: ResidencyEffect, model: str, request_id: str = "") -> None:
        self.now = at
        self.journal.note(effect, model, request_id)

    def admit(self, at: float, model: str, request_id: str) -> None:
        self.now = at
        self.journal.note_request(Admit((0, 1), model, True, case=201), model, request_id)

    def lines(self, **about: str) -> list[str]:
        return [record["line"].split(" D#a: ")[1] for record in self.journal.records(**about)]


def evict(model: str, room_for: str) -> Unload:
    return Unload(Key(0, model), "evicted", Key(0, room_for), case=260)


def told() -> Diary:
    diary = Diary()
    diary.move(101.0, Load(Key(0, "m"), case=251), "m")
    diary.admit(102.0, "m", "old")
    diary.move(103.0, evict("m", "x"), "m")
    diary.move(110.0, evict("x", "m"), "x")
    diary.move(110.1, Fetch(Key(0, "m"), case=250), "m")
    diary.move(110.2, Load(Key(0, "m"), case=251), "m")
    diary.admit(111.0, "m", "mine")
    diary.admit(112.0, "m", "theirs")
    diary.move(113.0, evict("m", "y"), "m")
    diary.decisions = [
        Decision(103.0, 260, "x", "m", (Candidate("m", Standing(1.0, 1, 1.0, 0.1, 0)),)),
        Decision(109.5, 261, "m", "x", (Candidate("x", {"leases": 2.0}),)),
        Decision(109.99, 260, "m", "x", (Candidate("x", Standing(9.0, 2, 1.5, 0.1, 0)),)),
        Decision(110.0, 268, "z", ""),
    ]
    return diary


def test_a_request_is_told_with_what_brought_its_model_and_who_made_room() -> None:
    assert told().lines(request_id="mine") == [
        "unloading model 'x' (evicted) to make room for model 'm': an idle model makes room for one that is wanted",
        "fetching model 'm': its turn to load is near: the file is fetched first, before any slot is taken",
        "loading model 'm': it waits longest of those that fit, and a slot is free and one more may load",
        "admitted request mine for model 'm': the model is resident and a place is free",
    ]
    assert told().lines(request_id="never") == []


def test_a_model_is_told_with_its_yields_and_evictions() -> None:
    lines = told().lines(model="x")
    assert [line.split(": ")[0] for line in lines] == [
        "unloading model 'm' (evicted) to make room for model 'x'",
        "model 'x' yields to model 'm'",
        "unloading model 'x' (evicted) to make room for model 'm'",
    ]
    assert told().lines(model="z") == [
        "model 'z' stays: nobody wants the slot of the draining model any more",
    ]


def test_an_eviction_is_told_with_its_candidates() -> None:
    _, first, second = told().journal.records(model="x")
    assert first["candidates"] == [{"name": "x", "leases": 2.0}]
    assert second["candidates"][0]["idle_s"] == 9.0
    assert second["at"] == SHIFT + 110.0


def test_every_effect_has_its_words() -> None:
    diary = Diary()
    broken = Failure("model_load_failed", "boom")
    diary.move(101.0, Refuse(0, (0, 1), "full", case=212), "m", "r")
    diary.move(102.0, Give(1, Key(0, "m"), case=231), "m", "r")
    diary.move(103.0, Deny(2, broken, case=241), "m")
    diary.move(104.0, Withdrawn(0, "m", case=280), "m")
    diary.move(105.0, Fault("every slot is held", case=290), "m")
    diary.move(106.0, Refuse(0, (0, 2), "draining", case=210), "", "r")
    assert [line.split(": ")[0] for line in diary.lines(model="m")] == [
        "refused request r for model 'm' (full)",
        "gave model 'm' to request r",
        "denied model 'm' to user code outside a request",
        "gave back the want of model 'm'",
        "cannot go on (every slot is held)",
    ]
    assert "boom" in diary.lines(model="m")[2]
    assert diary.lines(request_id="r")[-1] == "refused request r for no model (draining): the replica is stopping"


def test_a_model_is_told_with_its_failed_load() -> None:
    diary = told()
    diary.decisions = [Decision(112.0, 241, "m", "model_load_failed")]
    assert "model 'm' failed (model_load_failed): the load failed" in diary.lines(model="m")


def test_requests_that_found_their_model_push_no_other_out() -> None:
    diary = Diary()
    diary.now = 100.0
    diary.journal.note_request(Admit((0, 1), "m", False, case=202), "m", "loaded")
    for number in range(LIMIT + 1):
        diary.admit(101.0 + number, "m", f"hit-{number}")
    assert len(diary.lines(request_id="loaded")) == 1
    assert len(diary.lines(model="m")) == 1 + HITS
    assert diary.lines(request_id="hit-0") == []
    assert len(diary.lines(request_id=f"hit-{LIMIT}")) == 1
