"""How a child ends without losing a request: the routers forget a replica before it drains."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from runtime.supervisor.worker import Worker

WITHDRAW_TIMEOUT_S: Final = 2.0  # for the routers to stop sending to a replica before it drains


class Retirement:
    """``routers`` are those that are up; ``publish`` sends them what has changed and returns the table's number.

    ``router_drain_s``: how long a router may take to drain, as long as the slowest replica that it waits for.
    """

    def __init__(
        self, routers: Callable[[], list[Worker]], publish: Callable[[], int], note: Callable[[str], None]
    ) -> None:
        self.router_drain_s = 0.0
        self._routers = routers
        self._publish = publish
        self._note = note
        self._applied = asyncio.Event()  # set when a router has applied a table, or has ended

    def look_again(self) -> None:
        """A router has applied a table, or a child has ended."""
        self._applied.set()

    async def run(self, worker: Worker) -> None:
        """End a child that is marked as draining."""
        try:
            await self._see_off(worker)
        except Exception:  # a fault of the supervisor: the child must end all the same
            if worker.process is not None:
                worker.process.kill()
            raise

    async def _see_off(self, worker: Worker) -> None:
        if worker.role == "router":
            await worker.stop(self.router_drain_s)
            return
        await self._known_to_routers(self._publish())
        await worker.stop(float(worker.setting("graceful_shutdown_timeout_s")))

    async def _known_to_routers(self, table: int) -> None:
        """Wait until every router has applied a table; one that takes too long is not waited for."""
        try:
            async with asyncio.timeout(WITHDRAW_TIMEOUT_S):
                while any(router.table < table for router in self._routers()):
                    self._applied.clear()
                    await self._applied.wait()
        except TimeoutError:
            self._note(f"the routers did not apply table {table} within {WITHDRAW_TIMEOUT_S:g} s")
