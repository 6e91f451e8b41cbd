"""The asyncio shell round a blocking fetch: a thread of our own, progress on the loop, clean cancellation."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from runtime.errors import StoreError
from runtime.stores.fetched import FetchedFile, Progress

_REPORT_EVERY_S: Final = 0.2


class FetchCancelled(Exception):
    """Nobody waits for this fetch any more; raised inside its thread."""


class Ticket:
    """What a blocking fetch is given: where to report progress, and whether to go on. Used from any thread."""

    def __init__(self, report: Callable[[float, int], None], closing: threading.Event) -> None:
        self._report = report
        self._closing = closing
        self._cancelled = threading.Event()
        self._reported_at = 0.0  # monotonic; reports are thinned out, since each wakes the event loop

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self) -> None:
        """Raise ``FetchCancelled`` if nobody waits any more."""
        if self._cancelled.is_set() or self._closing.is_set():
            raise FetchCancelled

    def progress(self, done_bytes: int, total_bytes: int) -> None:
        """Report how far it is. Raises ``FetchCancelled`` as ``check`` does."""
        self.check()
        now = time.monotonic()
        if now - self._reported_at < _REPORT_EVERY_S and done_bytes < total_bytes:
            return
        self._reported_at = now
        self._report(min(1.0, done_bytes / total_bytes) if total_bytes else 1.0, done_bytes)


class FetchThreads:
    """Runs blocking fetches, ``threads`` at a time."""

    def __init__(self, threads: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._closing = threading.Event()

    async def run(self, fetch: Callable[[Ticket], FetchedFile], progress: Progress) -> FetchedFile:
        """Run ``fetch`` in a thread. Where the caller is cancelled, what it fetched nevertheless is released."""
        loop = asyncio.get_running_loop()

        def report(fraction: float, done_bytes: int) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(progress, fraction, done_bytes)

        ticket = Ticket(report, self._closing)
        future = self._executor.submit(fetch, ticket)
        try:
            return await asyncio.wrap_future(future)
        except FetchCancelled:
            raise StoreError("the store was closed while the file was being fetched") from None
        except asyncio.CancelledError:
            ticket.cancel()
            future.add_done_callback(_release_unused)
            raise

    def stop(self) -> None:
        """Tell every fetch to end, and begin none."""
        self._closing.set()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        """Block until every fetch has ended."""
        self._executor.shutdown(wait=True)


def _release_unused(future: Future[FetchedFile]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().release()
