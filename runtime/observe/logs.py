"""The log of one process: structured records in two streams, each with a quota of its own.

``events`` holds the lifecycle and is written at once. ``requests`` holds what grows with the traffic: started,
finished and access lines are kept as structs, and made and written by the owner's ``flush``, and are sampled above
``requests_per_s``. So access lines at 20 MB/s cannot push the ``Loading model`` lines out.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runtime.errors import ClientGone
from runtime.observe import events
from runtime.observe.output import trim_output
from runtime.observe.record import LogRecord, encode
from runtime.observe.request_lines import Access, Finished, Identity, Line, LineEncoder, Started
from runtime.observe.sampling import Budget
from runtime.observe.segments import Quota, SegmentWriter

__all__ = ["EVENTS_QUOTA", "REQUESTS_QUOTA", "Identity", "LogWriter", "Quota"]

EVENTS_QUOTA: Final = Quota(segment_bytes=4 * 2**20, total_bytes=32 * 2**20)
REQUESTS_QUOTA: Final = Quota(segment_bytes=16 * 2**20, total_bytes=64 * 2**20)
_SHOWN_LIMIT: Final = 65_536
_TRIM_EVERY_S: Final = 10.0


class LogWriter:
    """Writes the log of this process into ``folder``. Every method may be called from any thread and none raises.

    The owner calls ``flush`` every ``flush_interval_s`` seconds. While the disk takes nothing, lines are
    counted, and the count is logged once it works again.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        *,
        clock: Callable[[], float] = time.time,
        requests_per_s: float = 2000.0,
        events_quota: Quota = EVENTS_QUOTA,
        requests_quota: Quota = REQUESTS_QUOTA,
    ) -> None:
        self.flush_interval_s: Final = 0.1
        self.identity: Final = identity
        self._folder = folder
        self._clock = clock
        self._pid = os.getpid()  # whose lines these are; another one after a fork in user code
        self._lock = threading.RLock()  # round every write
        self._writing = False  # the lock's holder is inside a write
        self._events = SegmentWriter(folder, "events", events_quota, clock)
        self._requests = SegmentWriter(folder, "requests", requests_quota, clock)
        self._pending: deque[tuple[Line, bytes]] = deque()  # requests since the last flush, not lines yet
        self._urgent: deque[tuple[SegmentWriter, bytes]] = deque()  # records on their way to the disk
        self._lines = LineEncoder(identity)
        now = clock()
        self._budget = Budget(requests_per_s, now)
        self._failures = Budget(requests_per_s, now)  # of their own: a failure is not sampled away by successes
        self._shown: set[str] = set()  # requests whose start was written, so that their end is written too
        self._reported_at = now  # when skipped lines were last counted in a record
        self._trimmed_at = now
        self._closed = False

    # --- events -----------------------------------------------------------------------------------------

    def event(
        self,
        message: str,
        *,
        level: str = "INFO",
        event: str = "",
        model: str = "",
        request_id: str = "",
        route: str = "",
        file: str = "",
        line: int = 0,
        **fields: object,
    ) -> None:
        """Write one record at once.

        ``file`` and ``line`` default to the caller's. Fields named ``application``, ``deployment`` or
        ``replica`` say what the record is about, where that is not this process.
        """
        if not file:
            caller = sys._getframe(1)
            file, line = os.path.basename(caller.f_code.co_filename), caller.f_lineno  # noqa: PTH119
        who = self.identity
        record = LogRecord(
            ts=self._clock(),
            level=level,
            app=str(fields.pop("application", who.application)),
            deployment=str(fields.pop("deployment", who.deployment)),
            replica=str(fields.pop("replica", who.replica)),
            process=who.process,
            request_id=request_id,
            route=route,
            model=model,
            file=file,
            line=line,
            event=event,
            msg=message,
            fields=fields,
        )
        self._urgent.append((self._requests if event in events.PER_REQUEST else self._events, encode(record)))
        self._write_out()

    # --- requests ---------------------------------------------------------------------------------------

    def started(self, request_id: str, route: str, model: str) -> None:
        """Log that a request began; its end is logged exactly if its beginning was, or if it failed."""
        budget = self._budget
        if budget.tokens < 1.0:  # a call less for each of the many that are sampled away
            budget.skipped += 1
            return
        budget.tokens -= 1.0
        if len(self._shown) >= _SHOWN_LIMIT:
            self._shown.clear()
        self._shown.add(request_id)
        constants = self._lines.constants(Started, sys._getframe(1), events.REQUEST_STARTED)
        self._pending.append((Started(self._clock(), request_id, route, model), constants))

    def shows(self, request_id: str) -> bool:
        """Return whether this request's start was written, so that its end is as well, however it ends."""
        return request_id in self._shown

    def finished(
        self,
        request_id: str,
        route: str,
        model: str,
        *,
        method: str = "__CALL__",
        ok: bool,
        status: int,
        ms: float,
        cache: str = "",
        load_ms: float = 0,
        wait_ms: float = 0,
    ) -> None:
        """Log how a request ended, in the form ``__CALL__ OK 1005.8ms``. Times are milliseconds."""
        if request_id in self._shown:
            self._shown.discard(request_id)
        elif ok or not self._failures.take():
            return
        outcome = "OK" if ok else "CANCELLED" if status == ClientGone.status else "ERROR"
        head = Finished(
            self._clock(),
            "ERROR" if outcome == "ERROR" else "INFO",
            request_id,
            route,
            model,
            f"{method} {outcome}",
            status,
            ms,
            cache,
            load_ms,
            wait_ms,
        )
        self._pending.append((head, self._lines.constants(Finished, sys._getframe(1), events.REQUEST_FINISHED)))

    def sampled_out(self) -> bool:
        """Return whether the next request's line would not be written; then count it as such: spare the call."""
        if self._budget.tokens >= 1.0:
            return False
        self._budget.skipped += 1
        return True

    def access(
        self,
        *,
        request_id: str,
        deployment: str,
        route: str,
        model: str,
        method: str,
        path: str,
        status: int,
        ms: float,
        queue_ms: float,
        cache: str,
        replica: str,
        client: str,
        application: str = "",
    ) -> None:
        """Log the router's line for one request, answered with ``status`` after ``ms``."""
        failed = status >= 500
        if not (self._failures if failed else self._budget).take():
            return
        head = Access(
            self._clock(),
            "ERROR" if failed else "INFO",
            application,
            deployment,
            replica,
            request_id,
            route,
            model,
            method,
            path,
            status,
            ms,
            queue_ms,
            cache,
            client,
        )
        self._pending.append((head, self._lines.constants(Access, sys._getframe(1), events.REQUEST_ACCESS)))

    # --- writing ----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write the buffered request lines and refill the sampling budget."""
        now = self._clock()
        self._budget.refill(now)
        self._failures.refill(now)
        if now - self._reported_at >= 1.0:
            self._report_skipped(now)
        self._write_out(pending=True)
        if now - self._trimmed_at >= _TRIM_EVERY_S:
            self._trimmed_at = now
            trim_output(self._folder)

    def close(self) -> None:
        """Write what is buffered and close the files; later lines are dropped."""
        self._report_skipped(self._clock())
        self._write_out(pending=True)
        with self._lock:
            self._closed = True
            self._events.close()
            self._requests.close()

    def _write_out(self, *, pending: bool = False) -> None:
        """Write the urgent records, and the pending request lines where asked or where they came first.

        The garbage collector may run a finalizer of user code at any allocation, also in here, and it may print:
        such a record only joins the queue, which the writer below it on the same stack empties.
        """
        if os.getpid() != self._pid:
            self._begin_in_child()
        with self._lock:
            if self._writing:
                return
            self._writing = True
            try:
                while self._urgent:
                    stream, line = self._urgent.popleft()
                    if stream is self._requests:
                        self._write_pending()
                    self._write(stream, line, 1)
                if pending:
                    self._write_pending()
                    self._tell_of_losses()
            finally:
                self._writing = False

    def _begin_in_child(self) -> None:
        """After a fork: another thread may have held the lock, and the buffered lines are the parent's to write."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._writing = False
        self._pending.clear()

    def _write_pending(self) -> None:
        count = len(self._pending)  # others may append meanwhile; only the lock's holder takes
        if count:
            lines = [self._lines.line(*self._pending.popleft()) for _ in range(count)]
            self._write(self._requests, b"".join(lines), count)

    def _write(self, stream: SegmentWriter, data: bytes, lines: int) -> None:
        """Write whole lines; where the disk works again, say what was lost."""
        if not self._closed and stream.write(data, lines) and stream.lost_lines:
            self._tell_lost(stream)

    def _tell_of_losses(self) -> None:
        """Try to tell of lost lines although no further line comes."""
        for stream in (self._events, self._requests):
            if stream.lost_lines and not self._closed:
                self._tell_lost(stream)

    def _tell_lost(self, stream: SegmentWriter) -> None:
        """Say how many lines a stream has lost; where the disk takes not even that, later."""
        lost, stream.lost_lines = stream.lost_lines, 0
        message = f"{lost} log lines were lost: {stream.error}."
        if not stream.write(self._own_record(message, events.LOG_LOST, level="WARNING", lost=lost), 0):
            stream.lost_lines += lost

    def _report_skipped(self, now: float) -> None:
        self._reported_at = now
        skipped = self._budget.skipped + self._failures.skipped
        if not skipped:
            return
        self._budget.skipped = self._failures.skipped = 0
        message = f"{skipped} more requests were served than this log shows."
        self._urgent.append((self._requests, self._own_record(message, events.REQUESTS_SKIPPED, skipped=skipped)))

    def _own_record(self, message: str, event: str, level: str = "INFO", **fields: object) -> bytes:
        who = self.identity
        return encode(
            LogRecord(
                ts=self._clock(),
                level=level,
                app=who.application,
                deployment=who.deployment,
                replica=who.replica,
                process=who.process,
                file=Path(__file__).name,
                line=sys._getframe(1).f_lineno,
                event=event,
                msg=message,
                fields=fields,
            )
        )
