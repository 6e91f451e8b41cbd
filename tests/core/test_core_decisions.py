"""What is recorded of decisions, and the words for every case."""

from __future__ import annotations

import re
from pathlib import Path

from runtime.core import events as ev
from runtime.core.cases import CASES, sentence
from runtime.core.decisions import Candidate, Decisions
from runtime.core.events import Failure, Key, Summary
from runtime.core.eviction import Standing
from runtime.core.failures import FailureMemory
from tests.core.fakes import Replica, Router

CORE = Path(__file__).parents[2] / "runtime" / "core"


def test_every_case_in_the_code_has_its_sentence_and_every_sentence_its_case() -> None:
    code = "\n".join(path.read_text() for path in CORE.glob("*.py") if path.name != "cases.py")
    used = {int(number) for number in re.findall(r"\b([12]\d\d)\b(?!\.)", code)}
    assert set(CASES) <= used
    for number in {int(number) for number in re.findall(r"case=(\d{3})", code)}:
        assert sentence(number)
    assert sentence(0) == ""


def test_the_ring_of_decisions_is_bounded() -> None:
    ring = Decisions(limit=3)
    for number in range(5):
        ring.note(float(number), 120, f"m{number}", "r")
    assert [one.model for one in ring.list()] == ["m2", "m3", "m4"]
    assert [one.at for one in ring.list("m3")] == [3.0]
    assert len(ring) == 3


def test_a_candidate_shows_what_it_was_judged_by() -> None:
    assert Candidate("r", Summary(wants=2)).values()["wants"] == 2
    assert Candidate("m", Standing(1.0, 2, 3.0, 4.0, 5)).values()["uses"] == 2
    assert Candidate("m", {"leases": 1}).values() == {"leases": 1}


def test_a_want_and_an_eviction_can_be_explained() -> None:
    router = Router()
    router.up("r0")
    router.up("r1", 1)
    router.arrive("m")
    (want,) = router.scheduler.decisions("m")
    assert want.chosen in ("r0", "r1")
    assert {candidate.name for candidate in want.candidates} == {"r0", "r1"}
    replica = Replica(slots=(1,))
    replica.load("a")
    replica.want("b")
    (eviction,) = replica.residency.decisions("b")
    assert (eviction.case, eviction.chosen) == (260, "a")
    assert replica.residency.decisions() == [eviction]


def test_failures_are_remembered_for_a_growing_bounded_time() -> None:
    memory: FailureMemory[str] = FailureMemory(base_s=1.0, max_s=4.0)
    failure = Failure("model_load_failed", "boom")
    delays = [memory.remember("m", failure, 0.0).retry_after_s for _ in range(4)]
    assert delays == [1.0, 2.0, 4.0, 4.0]
    left = memory.get("m", 3.0)
    assert left is not None
    assert left.retry_after_s == 1.0
    assert memory.get("m", 4.0) is None
    memory.forget("m")
    assert "m" not in memory


def test_the_memory_of_failures_is_bounded_and_forgets_replicas() -> None:
    memory: FailureMemory[str] = FailureMemory(limit=2)
    for name in ("a", "b", "c"):
        memory.remember(name, Failure("x", ""), 0.0, where=0b11)
    assert len(memory) == 2
    assert memory.where("a") == 0
    memory.forget_replica(0b01)
    assert memory.where("c") == 0b10


def test_both_brains_show_what_they_hold() -> None:
    replica = Replica(slots=(2,), drain_limit_s=5.0)
    replica.load("a")
    replica.offer("r", "a")
    replica.do(ev.PinChanged(Key(0, "a"), True))
    replica.want("b")
    assert "a:resident:1LP" in repr(replica.residency)
    assert "b:loading" in repr(replica.residency)
    router = Router()
    router.up("r0", held=("a",))
    router.arrive("b")
    assert "<Scheduler d queued=1 [<Model b on 0 loading 0 waiting 1>]" in repr(router.scheduler)
    assert "<ReplicaView r0 0/5 ['a']>" in repr(router.scheduler)
    assert router.scheduler.queued == 1
