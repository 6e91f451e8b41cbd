"""The tolerance of the honest test means something: a simulator of another pool is outside of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.simulate.run import simulate
from runtime.simulate.shape import Shape, Span
from runtime.simulate.synthetic import Synthetic
from tests.e2e.test_simulate_honest import CLIENTS, LOAD_S, LOADS_OFF, MIX, REQUESTS, SHAPE, WAITS_OFF, WORK_S, close

ASKED = Synthetic(MIX, count=REQUESTS, rate=1.0, seed=11)


def agree(one: Shape, other: Shape) -> bool:
    told, real = (simulate(shape, ASKED, clients=CLIENTS) for shape in (one, other))
    return (
        close(told.loads, real.loads, *LOADS_OFF)
        and close(told.waits.mean_s, real.waits.mean_s, *WAITS_OFF)
        and close(told.latencies.mean_s, real.latencies.mean_s, *WAITS_OFF)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"load_s": Span(1.45 * LOAD_S)},
        {"load_s": Span(0.6 * LOAD_S)},
        {"work_s": Span(5.0 * WORK_S)},
        {"slots": SHAPE.slots + 1},
        {"slots": SHAPE.slots - 1},
        {"replicas": SHAPE.replicas + 1},
        {"max_concurrent_loads": 1},
        {"delay_s": 0.02},
    ],
)
def test_a_pool_that_is_another_one_is_outside_the_tolerance(wrong: dict[str, object]) -> None:
    assert agree(SHAPE, SHAPE)
    assert not agree(replace(SHAPE, **wrong), SHAPE)  # type: ignore[arg-type]
