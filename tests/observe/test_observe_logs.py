"""LogWriter: two streams, their quotas, sampling, and disks that fail."""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.observe import events
from runtime.observe.logs import Identity, LogWriter, Quota
from runtime.observe.output import OUTPUT_NAME
from runtime.observe.record import LogRecord, decode, encode
from tests.observe.conftest import MakeWriter
from tests.observe.fakes import FakeClock

Read = Callable[..., list[LogRecord]]


def finish(writer: LogWriter, request_id: str, *, ok: bool = True, status: int = 200) -> None:
    writer.finished(request_id, "/", "1", ok=ok, status=status, ms=1005.84, cache="load", load_ms=1000.0)


def test_an_event_is_on_disk_at_once_with_all_its_keys(make_writer: MakeWriter, tmp_path: Path) -> None:
    writer = make_writer()
    writer.event("Loading model '1'.", event=events.MODEL_LOADING, model="1", request_id="CUp", route="/", attempt=2)
    (line,) = (tmp_path / "Model-EjYmnQ" / "events-000001.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record.pop("line") > 0
    assert record == {
        "ts": 1_700_000_000.0,
        "level": "INFO",
        "app": "default",
        "deployment": "Model",
        "replica": "EjYmnQ",
        "process": "Model#EjYmnQ",
        "request_id": "CUp",
        "route": "/",
        "model": "1",
        "file": "test_observe_logs.py",
        "event": "model.loading",
        "msg": "Loading model '1'.",
        "attempt": 2,
    }


def test_request_lines_wait_for_flush_and_carry_the_callers_line(make_writer: MakeWriter, read: Read) -> None:
    writer = make_writer()
    writer.started("CUp", "/", "1")
    finish(writer, "CUp")
    assert read() == []
    writer.flush()
    started, finished = read()
    assert (started.msg, started.event, started.file) == (
        "Started executing request CUp",
        "request.started",
        "test_observe_logs.py",
    )
    assert (finished.msg, finished.level, finished.model) == ("__CALL__ OK 1005.8ms", "INFO", "1")
    assert finished.fields == {"status": 200, "ms": 1005.84, "cache": "load", "load_ms": 1000.0}
    assert finished.line != started.line > 0


@pytest.mark.parametrize(
    ("status", "outcome", "level"), [(500, "ERROR", "ERROR"), (499, "CANCELLED", "INFO"), (503, "ERROR", "ERROR")]
)
def test_the_end_of_a_request_says_how(
    make_writer: MakeWriter, read: Read, status: int, outcome: str, level: str
) -> None:
    writer = make_writer()
    writer.started("a", "/", "")
    finish(writer, "a", ok=False, status=status)
    writer.flush()
    assert (read()[1].msg, read()[1].level) == (f"__CALL__ {outcome} 1005.8ms", level)


def test_an_access_line_is_about_the_replica_that_served_it(make_writer: MakeWriter, read: Read) -> None:
    writer = make_writer("router-0")
    writer.access(
        request_id="CUp",
        deployment="Model",
        route="/",
        model="1",
        method="POST",
        path="/x",
        status=503,
        ms=2.0,
        queue_ms=1.0,
        cache="",
        replica="Model#EjYmnQ",
        client="127.0.0.1",
    )
    writer.flush()
    (record,) = read()
    assert (record.process, record.deployment, record.replica, record.level) == (
        "router-0",
        "Model",
        "EjYmnQ",
        "ERROR",
    )
    assert record.msg == "POST /x 503 2.0ms"
    assert record.fields["queue_ms"] == 1.0


def test_above_the_rate_requests_are_sampled_whole_and_counted(
    make_writer: MakeWriter, read: Read, clock: FakeClock
) -> None:
    writer = make_writer(requests_per_s=10)
    for number in range(25):
        writer.started(str(number), "/", "1")
    for number in range(25):
        finish(writer, str(number), ok=number != 24, status=500 if number == 24 else 200)
    clock.advance(1.0)
    writer.flush()
    records = read()
    started = {r.request_id for r in records if r.event == events.REQUEST_STARTED}
    finished = {r.request_id for r in records if r.event == events.REQUEST_FINISHED}
    assert started == {str(number) for number in range(10)}
    assert finished == started | {"24"}, "a failure is never sampled away"
    (skipped,) = [r for r in records if r.event == events.REQUESTS_SKIPPED]
    assert skipped.fields == {"skipped": 15}
    writer.started("after", "/", "1")
    writer.flush()
    assert read()[-1].request_id == "after"


def test_segments_are_numbered_and_the_oldest_deleted(make_writer: MakeWriter, tmp_path: Path, read: Read) -> None:
    writer = make_writer(events_quota=Quota(segment_bytes=1000, total_bytes=3000))
    for number in range(40):
        writer.event(f"event {number}")
    names = sorted(path.name for path in (tmp_path / "Model-EjYmnQ").iterdir())
    assert len(names) <= 4
    assert names[-1] > "events-000005.jsonl"
    assert sum(path.stat().st_size for path in (tmp_path / "Model-EjYmnQ").iterdir()) <= 3000
    assert [record.msg for record in read()][-1] == "event 39"


def test_requests_cannot_push_events_out(make_writer: MakeWriter, read: Read, clock: FakeClock) -> None:
    writer = make_writer(requests_quota=Quota(segment_bytes=2000, total_bytes=4000))
    writer.event("Loading model '1'.", event=events.MODEL_LOADING)
    for number in range(500):
        writer.started(str(number), "/", "1")
        writer.event(f"printed {number}", event=events.OUTPUT_PRINT)
        clock.advance(0.1)
        writer.flush()
    records = read()
    assert records[0].msg == "Loading model '1'."
    assert len(records) < 60


def test_a_new_process_never_appends_to_an_old_segment(make_writer: MakeWriter, tmp_path: Path, read: Read) -> None:
    make_writer("router-0").event("first life")
    old = tmp_path / "router-0" / "events-000001.jsonl"
    with old.open("ab") as file:
        file.write(b'{"ts":1,"msg":"torn')
    make_writer("router-0").event("second life")
    assert (tmp_path / "router-0" / "events-000002.jsonl").exists()
    assert [record.msg for record in read()] == ["first life", "second life"]


def test_lines_lost_to_a_bad_disk_are_counted_and_reported(
    make_writer: MakeWriter, tmp_path: Path, clock: FakeClock, read: Read
) -> None:
    blocker = tmp_path / "Model-EjYmnQ"
    blocker.write_text("a file where the folder should be")
    writer = make_writer()
    for number in range(3):
        writer.event(f"lost {number}")
    blocker.unlink()
    writer.event("still waiting")  # the disk is tried again only after a second
    clock.advance(1.0)
    writer.event("written")
    written, lost = read()
    assert written.msg == "written"
    assert (lost.event, lost.fields, lost.level) == (events.LOG_LOST, {"lost": 4}, "WARNING")
    assert os.strerror(errno.EEXIST) in lost.msg or os.strerror(errno.ENOTDIR) in lost.msg


def test_lost_lines_are_told_of_although_no_further_line_comes(
    make_writer: MakeWriter, tmp_path: Path, clock: FakeClock, read: Read
) -> None:
    blocker = tmp_path / "Model-EjYmnQ"
    blocker.write_text("a file where the folder should be")
    writer = make_writer()
    writer.event("lost")
    clock.advance(1.0)
    writer.flush()  # not even that they are lost can be written: none may be forgotten for it
    blocker.unlink()
    clock.advance(1.0)
    writer.flush()
    [told] = read()
    assert (told.event, told.fields) == (events.LOG_LOST, {"lost": 1})


def test_a_disk_that_fills_up_in_the_middle_of_a_line(
    make_writer: MakeWriter, tmp_path: Path, clock: FakeClock, read: Read
) -> None:
    writer = make_writer()
    writer.event("first")
    path = tmp_path / "Model-EjYmnQ" / "events-000001.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, limits[1]))
    try:
        for number in range(3):
            writer.event(f"lost {number}")
            clock.advance(1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    writer.event("after")
    assert [record.msg for record in read()] == [
        "first",
        "after",
        f"3 log lines were lost: {os.strerror(errno.EFBIG)}.",
    ]
    assert len(list(path.parent.iterdir())) == 1, "a full disk must not breed empty segments"


def test_a_forked_child_does_not_write_its_parents_lines(make_writer: MakeWriter, read: Read) -> None:
    writer = make_writer()
    writer.started("parents", "/", "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: a fork beside threads
        pid = os.fork()
    if pid == 0:
        writer.event("printed by a child", event=events.OUTPUT_PRINT)
        os._exit(0)
    os.waitpid(pid, 0)
    writer.flush()
    assert [record.event for record in read()] == [events.OUTPUT_PRINT, events.REQUEST_STARTED]


def test_a_deleted_folder_is_made_again(make_writer: MakeWriter, tmp_path: Path, clock: FakeClock, read: Read) -> None:
    writer = make_writer()
    writer.event("before")
    (tmp_path / "Model-EjYmnQ" / "events-000001.jsonl").unlink()
    (tmp_path / "Model-EjYmnQ").rmdir()
    clock.advance(1.1)
    writer.event("after")
    assert [record.msg for record in read()] == ["after"]


def test_what_json_cannot_hold_is_written_as_text(make_writer: MakeWriter, read: Read) -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError

    writer = make_writer()
    writer.event("lone \udc80 surrogate", thing=Unprintable(), big=2**70, path=Path("/x"), ts=5)
    writer.started("id-\udc80", "/", "1")
    writer.flush()
    event, started = read()
    assert event.msg == "lone \\udc80 surrogate"
    assert event.fields["thing"] == "<Unprintable: its repr raised RuntimeError>"
    assert event.fields["ts_"] == 5
    assert started.request_id == "id-\\udc80"


def test_an_endless_message_is_cut(make_writer: MakeWriter, read: Read) -> None:
    make_writer().event("x" * 100_000)
    assert read()[0].msg.endswith("… (34464 more characters)")


def test_threads_write_whole_lines(make_writer: MakeWriter, read: Read) -> None:
    writer = make_writer()

    def talk(who: int) -> None:
        for number in range(50):
            writer.event(f"{who}-{number}")
            writer.started(f"{who}-{number}", "/", "")

    threads = [threading.Thread(target=talk, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.flush()
    assert len({(r.event, r.msg) for r in read()}) == 400


def test_a_finalizer_that_logs_inside_a_write_neither_hangs_nor_doubles(tmp_path: Path, read: Read) -> None:
    class Chatty:
        def __del__(self) -> None:
            writer.event("from __del__", event=events.OUTPUT_PRINT)

    class Clock:
        """Runs a finalizer in the middle of a write: the writer reads the clock there."""

        armed = False

        def __call__(self) -> float:
            if self.armed:
                self.armed = False
                Chatty()
                gc.collect(0)
            return 1.0

    clock = Clock()
    writer = LogWriter(tmp_path / "p", Identity("p"), clock=clock)
    writer.started("a", "/", "")
    clock.armed = True
    writer.flush()
    writer.close()
    assert sorted(record.msg for record in read()) == ["Started executing request a", "from __del__"]


def test_after_close_lines_are_dropped(make_writer: MakeWriter, read: Read) -> None:
    writer = make_writer()
    writer.started("a", "/", "")
    writer.close()
    writer.event("too late")
    writer.flush()
    assert [record.request_id for record in read()] == ["a"]


def test_the_raw_output_file_is_kept_short(make_writer: MakeWriter, tmp_path: Path, clock: FakeClock) -> None:
    writer = make_writer()
    folder = tmp_path / "Model-EjYmnQ"
    folder.mkdir()
    (folder / OUTPUT_NAME).write_bytes(b"noise from a C library\n" * 800_000)
    clock.advance(11.0)
    writer.flush()
    kept = (folder / OUTPUT_NAME).read_bytes()
    assert len(kept) <= 256 * 1024
    assert kept.startswith(b"noise from")


def test_every_event_has_a_sentence() -> None:
    constants = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(events.EVENTS)
    assert all(doc.endswith(".") for doc in events.EVENTS.values())
    assert set(events.EVENTS) >= events.PER_REQUEST


def test_a_record_survives_the_disk_as_it_is() -> None:
    record = LogRecord(ts=1.5, level="ERROR", process="p", msg="m", line=3, fields={"ms": 1.5, "tags": ["a"]})
    assert decode(encode(record)) == record
