"""How long an idle processor of this machine takes to wake."""

from __future__ import annotations

import os
import subprocess
import time
from statistics import median


def wake_up_s(rounds: int = 200) -> float | None:
    """Measure how long a process of another processor takes to wake and answer, in seconds: the median.

    None where it cannot be measured: with one processor, or not on Linux.
    """
    if not hasattr(os, "sched_setaffinity") or len(mine := os.sched_getaffinity(0)) < 2:
        return None
    here, there, *_ = sorted(mine)
    try:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as other:
            os.sched_setaffinity(other.pid, {there})
            os.sched_setaffinity(0, {here})
            return median(_answer_s(other) for _ in range(rounds)) / 2
    except OSError:  # of a sandbox
        return None
    finally:
        os.sched_setaffinity(0, mine)


def _answer_s(other: subprocess.Popen[bytes]) -> float:
    assert other.stdin is not None
    assert other.stdout is not None
    began = time.perf_counter()
    other.stdin.write(b"x")
    other.stdout.read(1)
    return time.perf_counter() - began
