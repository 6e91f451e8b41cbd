"""When a dead child is started again, and when not."""

from __future__ import annotations

import pytest

from runtime.core.restart import RestartPolicy


def test_the_delay_grows_up_to_its_bound_while_children_die_young() -> None:
    policy = RestartPolicy(base_s=0.2, factor=2, max_s=1.0)
    delays = []
    for _ in range(5):
        policy.started(0.0)
        policy.ready(0.0)
        delays.append(policy.died(1.0, False))
    assert delays == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert policy.restarts == 5


def test_a_child_that_was_healthy_for_long_starts_over_with_the_least_delay() -> None:
    policy = RestartPolicy(base_s=0.2)
    for _ in range(4):
        policy.started(0.0)
        policy.ready(0.0)
        policy.died(1.0, False)
    policy.started(10.0)
    policy.ready(10.0)
    assert policy.died(20.0, False) == 0.2


def test_a_child_that_cannot_start_and_never_could_is_given_up_at_once() -> None:
    policy = RestartPolicy()
    policy.started(0.0)
    assert policy.died(0.1, True) is None


@pytest.mark.parametrize("says_so", [True, False])
def test_a_slot_that_was_ready_once_is_never_given_up(says_so: bool) -> None:
    policy = RestartPolicy(base_s=1.0, max_s=4.0, max_start_failures=3)
    policy.started(0.0)
    policy.ready(0.0)
    policy.died(1.0, False)
    delays = []
    for _ in range(8):
        policy.started(2.0)
        delays.append(policy.died(2.0, says_so))
    assert delays == [2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]


def test_a_child_that_dies_starting_without_a_word_is_tried_a_few_times() -> None:
    policy = RestartPolicy(max_start_failures=2)
    policy.started(0.0)
    assert policy.died(0.0, False) == 0.2
    assert policy.died(0.0, False) is None
    assert "failures=2" in repr(policy)
