"""How long idle processors of this machine may take to wake: Linux's PM QoS.

The bound lies on the whole machine and holds while somebody keeps a file open that it was written to; of several the
lowest holds (https://docs.kernel.org/power/pm_qos_interface.html). At 0 idle processors poll and never sleep.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

DEVICE: Final = Path("/dev/cpu_dma_latency")
HINT: Final = (
    f'Run mux as root, or give its group the right: a udev rule KERNEL=="{DEVICE.name}", GROUP="mux", MODE="0660".'
)


class CpuLatency:
    """A bound of ``limit_us`` microseconds, which this process holds or does not."""

    def __init__(self, limit_us: int, device: Path = DEVICE) -> None:
        self.limit_us = limit_us
        self._device = device
        self._file = -1

    @property
    def held(self) -> bool:
        return self._file != -1

    def hold(self) -> None:
        """Have the bound hold. Idempotent. Raises ``OSError`` where this user may not or the system has none."""
        if self.held:
            return
        file = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, self.limit_us.to_bytes(4, sys.byteorder, signed=True))
        except OSError:
            os.close(file)
            raise
        self._file = file

    def release(self) -> None:
        """Let the processors sleep as deep as they like. Idempotent."""
        if self.held:
            os.close(self._file)
            self._file = -1


def refusal(limit_us: int, device: Path = DEVICE) -> str:
    """Return why the bound cannot be held, as a sentence; empty if it can. It is held for a moment."""
    latency = CpuLatency(limit_us, device)
    try:
        latency.hold()
    except OSError as exc:
        return f"{device} cannot be written: {exc.strerror}."
    latency.release()
    return ""
