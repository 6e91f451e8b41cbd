"""The tolerance of the honest test means something: a simulator of another pool is outside of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runtime.simulate.run import simulate
from runtime.simulate.shape import Shape, Span
from tests.e2e.test_simulate_honest import ASKED, CLIENTS, CLOSED, LOAD_S, OPEN, SHAPE, WORK_S, Off, told


def agree(one: Shape, other: Shape, off: Off, clients: int | None) -> bool:
    ours, real = (simulate(shape, ASKED, clients=clients) for shape in (one, other))
    return off.allows(ours, told(real))


@pytest.mark.parametrize(("off", "clients"), [(OPEN, None), (CLOSED, CLIENTS)])
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
def test_a_pool_that_is_another_one_is_outside_the_tolerance(
    wrong: dict[str, object], off: Off, clients: int | None
) -> None:
    assert agree(SHAPE, SHAPE, off, clients)
    assert not agree(replace(SHAPE, **wrong), SHAPE, off, clients)  # type: ignore[arg-type]
