"""The bound on how long processors take to wake: held while requests come, where the config asks for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cpu_latency import CpuLatency, refusal
from runtime.router.wakefulness import LINGER_S, Wakefulness
from tests.router.fakes import RecordingLog


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


class House:
    """A router's wakefulness on a device that is a file, at a time and with requests that a test says."""

    def __init__(self, device: Path) -> None:
        self.now = 100.0
        self.handled = 3  # before the first look
        self.log = RecordingLog()
        self.latency = CpuLatency(7, device)
        self.wakefulness = Wakefulness(self.latency, lambda: self.handled, self.log, lambda: self.now)  # type: ignore[arg-type]

    def after(self, seconds: float, requests: int) -> bool:
        """Look again, so much later and with so many requests more; return whether the bound is held."""
        self.now += seconds
        self.handled += requests
        self.wakefulness.look()
        return self.latency.held


@pytest.fixture
def device(tmp_path: Path) -> Path:
    file = tmp_path / "cpu_dma_latency"
    file.touch()
    return file


@pytest.fixture
def house(device: Path) -> Iterator[House]:
    made = House(device)
    yield made
    made.wakefulness.close()


def test_the_bound_is_written_as_the_kernel_reads_it(house: House, device: Path) -> None:
    assert house.after(0.5, 1)
    assert int.from_bytes(device.read_bytes(), sys.byteorder, signed=True) == 7


def test_nothing_is_held_before_a_request_comes(house: House, device: Path) -> None:
    assert not house.after(0.5, 0)
    assert device.read_bytes() == b""


def test_it_is_held_while_requests_come_and_for_a_while_after_them(house: House) -> None:
    assert house.after(0.5, 1)
    assert house.after(LINGER_S - 0.5, 0)
    assert house.after(0.4, 2)
    assert house.after(LINGER_S - 0.1, 0)
    assert not house.after(0.1, 0)
    assert house.after(60, 1)


def test_a_deployment_that_goes_is_no_error(house: House) -> None:
    """The count falls by what was asked of it."""
    house.after(0.5, -3)
    assert not house.after(LINGER_S, 0)


def test_the_end_of_the_router_releases_it(house: House) -> None:
    house.after(0.5, 1)
    house.wakefulness.close()
    assert not house.latency.held


def test_what_cannot_be_held_is_said_once_and_tried_again(house: House, device: Path) -> None:
    device.unlink()
    assert not house.after(0.5, 1)
    assert not house.after(0.5, 1)
    ((level, message),) = house.log.events
    assert level == "WARNING"
    assert str(device) in message
    device.touch()
    assert house.after(0.5, 1)


def test_a_device_that_takes_nothing_is_not_held_and_leaves_no_descriptor() -> None:
    before = descriptors()
    latency = CpuLatency(0, Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        latency.hold()
    assert not latency.held
    assert descriptors() == before


def test_a_refusal_names_the_device(device: Path, tmp_path: Path) -> None:
    assert refusal(0, device) == ""
    missing = tmp_path / "none"
    assert refusal(0, missing) == f"{missing} cannot be written: No such file or directory."
