"""Which pinned and preloaded models a replica holds."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from runtime.core.placement import copies_for


def test_without_copies_every_replica_holds_every_model_once() -> None:
    assert copies_for(["b", "a", "b"], None, 1, 3) == ["b", "a"]
    assert copies_for(["a"], 5, 0, 2) == ["a"]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 20))
def test_copies_are_dealt_evenly(replicas: int, copies: int, models: int) -> None:
    names = [str(number) for number in range(models)]
    held = [copies_for(names, copies, index, replicas) for index in range(replicas)]
    each = Counter(model for models_here in held for model in models_here)
    assert all(each[name] == min(copies, replicas) for name in names)
    sizes = [len(models_here) for models_here in held]
    assert max(sizes) - min(sizes) <= 1
