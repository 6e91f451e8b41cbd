"""The script whose ``serve.run`` runs the project: the project ends with it, however it ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

LOOK_EVERY_S: Final = 1.0  # where the system tells nobody of the end of a process that is not his child


class Owner:
    """At most one process is watched; ``on_gone`` is told its pid once it has ended."""

    def __init__(self, on_gone: Callable[[int], None]) -> None:
        self._on_gone = on_gone
        self._pid = 0
        self._fd = -1
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, pid: int) -> None:
        """Watch this process and no other any more; 0: none, as after ``mux deploy``."""
        self.close()
        self._pid = pid
        if not pid:
            return
        try:
            self._fd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # another system, a sandbox that has none, or it has ended
            self._look()
        else:
            asyncio.get_running_loop().add_reader(self._fd, self._gone)

    def close(self) -> None:
        """Watch nobody any more. Idempotent."""
        if self._fd != -1:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        import psutil  # only where there is no pidfd

        if psutil.pid_exists(self._pid):
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)
        else:
            self._gone()

    def _gone(self) -> None:
        self.close()
        self._on_gone(self._pid)
