"""The bound on waits finds brains that let somebody starve: one rule taken away, and a run that was fine breaks it."""

from __future__ import annotations

import pytest

from runtime.core import demands, turns
from runtime.core.demands import Demands
from runtime.core.loader import Loader
from runtime.core.wants import Rank, Want
from runtime.simulate.invariants import InvariantBroken
from runtime.simulate.run import simulate
from runtime.simulate.seeds import story
from runtime.simulate.shape import Shape, Span
from tests.simulate.fakes import Listed

BROKEN = "nobody waits longer than the bound"


def newest_first(patch: pytest.MonkeyPatch) -> None:
    ranked = Want.ranked

    def backwards(want: Want) -> Rank:
        kind, since, number = ranked(want)
        return (kind, -since, number)

    patch.setattr(Want, "ranked", backwards)


def wait_for_what_hangs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Loader, "hanging", lambda loader, key, now: None)


def forget_who_came_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Demands, "aged", lambda *arguments: None)


def move_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(demands, "MOVES", 1 << 30)


@pytest.mark.parametrize(
    ("take_away", "seed"),
    [(newest_first, 244), (wait_for_what_hangs, 2087), (forget_who_came_back, 262), (move_for_ever, 12614)],
)
def test_a_brain_that_lets_somebody_starve_is_found(
    take_away: object, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(take_away)
    take_away(monkeypatch)
    with pytest.raises(InvariantBroken, match=BROKEN):
        story(seed).run()


def test_a_model_that_never_yields_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(replicas=1, slots=1, load_s=Span(0.1), work_s=Span(0.3), swap_wait_s=0.2)
    busy = Listed(["hot", "hot", "hot", "cold"] + ["hot"] * 100, every_s=0.1)
    simulate(shape, busy, check=True)
    monkeypatch.setattr(turns, "yielder", lambda *arguments: None)
    with pytest.raises(InvariantBroken, match=BROKEN):
        simulate(shape, busy, check=True)


def test_the_bound_counts_no_time_without_a_replica_that_could_load() -> None:
    """A model is pinned to the only slot for the whole run: its requests are answered, others are told at once."""
    shape = Shape(replicas=1, slots=1, pin=("held",), load_s=Span(0.1), drain_limit_s=0.5, swap_wait_s=0.0)
    result = simulate(shape, Listed(["held", "other", "held"], every_s=20.0), check=True)
    assert result.failed == {"slots_busy": 1}
