"""What each policy thinks of an idle model, and what it publishes of the next victim."""

from __future__ import annotations

import pytest

from runtime.core.eviction import POLICIES, Standing


def first_out(policy: str, **models: Standing) -> str:
    return min(models, key=lambda name: POLICIES[policy].worth(models[name]))


def standing(
    idle_s: float = 1.0, uses: int = 2, frequency: float = 1.0, load_s: float = 1.0, size_bytes: int = 1
) -> Standing:
    return Standing(idle_s, uses, frequency, load_s, size_bytes)


def test_lru_lets_the_longest_idle_go() -> None:
    assert first_out("lru", old=standing(idle_s=9), new=standing(idle_s=1)) == "old"


def test_lru_lets_a_model_used_once_go_before_one_that_came_back() -> None:
    assert first_out("lru", once=standing(idle_s=1, uses=1), again=standing(idle_s=9)) == "once"


def test_lfu_lets_the_least_frequent_go_and_breaks_ties_by_recency() -> None:
    assert first_out("lfu", rare=standing(idle_s=1, frequency=1), often=standing(idle_s=9, frequency=5)) == "rare"
    assert first_out("lfu", old=standing(idle_s=9), new=standing(idle_s=1)) == "old"


def test_gdsf_keeps_what_is_slow_to_load_and_lets_large_models_go() -> None:
    assert first_out("gdsf", slow=standing(load_s=9), fast=standing(load_s=1)) == "fast"
    assert first_out("gdsf", small=standing(size_bytes=1), large=standing(size_bytes=9)) == "large"


@pytest.mark.parametrize("policy", POLICIES)
def test_coldness_is_a_small_int_that_grows_as_a_model_cools(policy: str) -> None:
    warm = POLICIES[policy].coldness(standing(idle_s=0.0, frequency=50.0))
    cold = POLICIES[policy].coldness(standing(idle_s=1e9, uses=1, frequency=0.0))
    assert 0 <= warm < cold <= 63
