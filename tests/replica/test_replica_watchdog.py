"""The loop watchdog: it says that the loop is blocked, where, once, and not too often."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.observe.logs import Identity, LogWriter
from runtime.replica import main
from runtime.replica.watchdog import Watchdog, is_busy

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _look_from_a_thread(watchdog: Watchdog) -> bool:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(watchdog.look()))
    thread.start()
    thread.join()  # the event loop is blocked here, as by user code
    return found[0]


async def test_warns_once_per_block_with_the_users_line(tmp_path: Path) -> None:
    clock = Clock()
    writer = LogWriter(tmp_path, Identity("Model#a"))
    watchdog = Watchdog(writer, clock=clock, beat_s=1000.0)
    watchdog.start()
    clock.now += 0.9
    assert not _look_from_a_thread(watchdog)
    clock.now += 0.2
    assert _look_from_a_thread(watchdog)
    assert not _look_from_a_thread(watchdog)
    watchdog._beat()
    clock.now += 2.0
    assert not _look_from_a_thread(watchdog), "within the quiet time"
    clock.now += 10.0
    assert _look_from_a_thread(watchdog)
    watchdog.stop()
    writer.close()
    records = [msgspec.json.decode(line) for line in (tmp_path / "events-000001.jsonl").read_bytes().splitlines()]
    assert [record["event"] for record in records] == ["loop.blocked"] * 2
    assert records[0]["msg"].startswith("User code has blocked the event loop for 1.1 s")
    assert "_look_from_a_thread" in records[0]["msg"]


@pytest.mark.parametrize(
    ("file", "busy"),
    [
        (main.__file__, False),
        ("/site-packages/uvloop/__init__.py", False),
        ("/lib/python3.11/asyncio/runners.py", False),
        ("/site-packages/starlette/routing.py", True),
        ("/home/me/app.py", True),
    ],
)
def test_nobody_is_blamed_while_only_the_loop_itself_is_on_the_stack(file: str, busy: bool) -> None:
    """As after SIGSTOP, or in a virtual machine that was paused."""
    code: dict[str, Any] = {}
    exec(compile("def paused(): yield", file, "exec"), code)
    paused = code["paused"]()
    next(paused)
    assert is_busy(paused.gi_frame) is busy


async def test_stops_before_it_has_started(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, Identity("Model#a"))
    Watchdog(writer).stop()
    writer.close()
