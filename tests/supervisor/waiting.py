"""Waits for conditions of other processes, always with a deadline."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections.abc import Callable

DEADLINE_S = 15.0


def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Return once ``condition`` holds."""
    deadline, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {DEADLINE_S:g} s"
        pause.wait(0.02)


async def soon(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Return once ``condition`` holds, while the loop runs on."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.to_thread(threading.Event().wait, 0.01)


def await_end(pid: int) -> None:
    """Return once a process, whosever child it is, has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        readable, _, _ = select.select([pidfd], [], [], DEADLINE_S)
        assert readable, f"process {pid} still lives after {DEADLINE_S:g} s"
    finally:
        os.close(pidfd)
