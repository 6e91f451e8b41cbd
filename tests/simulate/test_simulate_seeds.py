"""Random pools, traffic and faults, every invariant at every step; a failing seed prints how to replay it.

``MUX_SEEDS`` says how many seeds (default: a thousand), ``MUX_FIRST_SEED`` where they begin.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runtime.core.eviction import POLICIES
from runtime.simulate.seeds import replay_command, story

FIRST = int(os.environ.get("MUX_FIRST_SEED", "0"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("MUX_SEEDS", "1000")))
AT_ONCE = 50  # seeds in one test: some seconds


@pytest.mark.parametrize("first", SEEDS[::AT_ONCE])
def test_every_invariant_holds_at_every_step(first: int) -> None:
    for seed in range(first, min(first + AT_ONCE, SEEDS.stop)):
        told = story(seed)
        try:
            told.run()
        except Exception as broken:
            pytest.fail(f"{told}\n{type(broken).__name__}: {broken}\nreplay it with: {replay_command(seed)}")


def test_a_seed_is_the_same_story_every_time() -> None:
    first, second = (story(7).run(check=False).to_dict() for _ in range(2))
    del first["cpu_s"], second["cpu_s"]
    assert first == second
    assert str(story(7)).startswith("seed 7: ")


def test_the_stories_differ_in_everything() -> None:
    stories = [story(seed) for seed in range(200)]
    assert {each.shape.eviction for each in stories} == set(POLICIES)
    assert {each.shape.routers for each in stories} == {1, 2, 3}
    assert any(each.faults.kill_every_s for each in stories)
    assert any(not each.faults for each in stories)
    assert any(each.clients is None for each in stories)


def test_the_module_replays_a_seed() -> None:
    command = [sys.executable, "-m", "runtime.simulate", "--seed", "7"]
    one = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert one.stdout.startswith("seed 7: ")
    two = subprocess.run([*command, "--count", "2"], capture_output=True, text=True, timeout=60, check=True)
    assert two.stdout == "2 stories from seed 7 on: every invariant held at every step\n"
