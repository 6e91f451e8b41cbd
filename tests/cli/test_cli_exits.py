"""Every error has one exit code."""

from __future__ import annotations

import pytest

from mux_cli.exits import ExitCode, RequestFailed, UsageProblem, exit_code
from runtime import errors


def test_the_codes_are_the_documented_ones() -> None:
    assert {code.value for code in ExitCode} == {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130}
    assert all(code.meaning for code in ExitCode)
    assert len({code.meaning for code in ExitCode}) == len(ExitCode)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageProblem("x"), 2),
        (errors.StartError("x"), 3),
        (errors.PortInUse("x"), 3),
        (errors.ConfigError("x"), 4),
        (errors.NotRunning("x"), 5),
        (errors.NotReadyInTime("x"), 6),
        (errors.Locked("x"), 7),
        (errors.NoSuchThing("x"), 8),
        (errors.ModelNotFound("x"), 8),
        (errors.BadRequest("x"), 2),
        (RequestFailed("x"), 9),
        (errors.QueueFull("x"), 9),
        (errors.MuxError("x"), 1),
        (errors.ProtocolError("x"), 1),
    ],
)
def test_an_error_has_its_exit_code(error: errors.MuxError, code: int) -> None:
    assert exit_code(error) == code
