"""Times and sizes as people read and write them."""

from __future__ import annotations

import pytest

from mux_cli.exits import UsageProblem
from mux_cli.quantities import duration, seconds, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.84, "0.8s"), (42.9, "42s"), (192, "3m12s"), (18180, "5h03m"), (187200, "2d4h"), (-1, "0.0s")],
)
def test_duration(value: float | None, text: str) -> None:
    assert duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "-"), (512, "512 B"), (4096, "4 KiB"), (81 << 20, "81 MiB"), (3 << 29, "1.5 GiB"), (5 << 40, "5.0 TiB")],
)
def test_size(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("30s", 30), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("250ms", 0.25), ("1.5h", 5400)],
)
def test_seconds(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "soon", "10x", "m10", "-5s"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="not a length of time"):
        seconds(text)
