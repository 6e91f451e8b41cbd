"""Reading and following the logs of all processes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from runtime.observe import events
from runtime.observe.follow import follow_logs
from runtime.observe.logs import LogWriter, Quota
from runtime.observe.reader import LogFilter, lines_backward, read_logs
from runtime.observe.record import LogRecord
from runtime.observe.retention import prune_logs
from tests.observe.conftest import MakeWriter
from tests.observe.fakes import FakeClock

Read = Callable[..., list[LogRecord]]


@pytest.fixture
def talk(make_writer: MakeWriter, clock: FakeClock) -> dict[str, LogWriter]:
    """Three processes that spoke in turn, one second apart."""
    writers = {name: make_writer(name) for name in ("Model#EjYmnQ", "Other#rimNjA", "router-0")}
    for number in range(4):
        for name, writer in writers.items():
            level = "ERROR" if number == 3 else "INFO"
            writer.event(f"{name} says {number}", level=level, model=str(number), event=events.MODEL_LOADED)
            clock.advance(1.0)
    return writers


def test_all_processes_are_one_story_in_time(talk: object, read: Read) -> None:
    records = read()
    assert [r.ts for r in records] == sorted(r.ts for r in records)
    assert [r.msg for r in records[:3]] == ["Model#EjYmnQ says 0", "Other#rimNjA says 0", "router-0 says 0"]
    assert len(records) == 12


@pytest.mark.parametrize("name", ["Model", "Model#EjYmnQ", "EjYmnQ", "default_Model", "default_Model#EjYmnQ"])
def test_a_deployment_and_a_replica_have_several_names(talk: object, read: Read, name: str) -> None:
    assert {r.process for r in read(names=(name,))} == {"Model#EjYmnQ"}


def test_filters(talk: object, read: Read, clock: FakeClock) -> None:
    assert {r.process for r in read(names=("router",))} == {"router-0"}
    assert {r.process for r in read(names=("router-0", "Other"))} == {"router-0", "Other#rimNjA"}
    assert len(read(level="warning")) == 3
    assert {r.model for r in read(model="2")} == {"2"}
    assert len(read(since=clock.now - 3)) == 3
    assert [r.msg for r in read(grep=r"Other_?.* says [12]")] == ["Other#rimNjA says 1", "Other#rimNjA says 2"]
    with pytest.raises(re.error):
        LogFilter(grep="(")


def test_the_last_n_are_those_that_match(talk: object, read: Read) -> None:
    assert [r.msg for r in read(last=2)] == ["Other#rimNjA says 3", "router-0 says 3"]
    assert [r.msg for r in read(last=2, names=("Model",), level="INFO")] == [
        "Model#EjYmnQ says 2",
        "Model#EjYmnQ says 3",
    ]
    assert read(last=0) == []
    assert len(read(last=100)) == 12


def test_a_good_access_line_belongs_to_the_router_alone(make_writer: MakeWriter, read: Read) -> None:
    writer = make_writer("router-0")
    for status in (200, 503):
        writer.access(
            request_id="a", deployment="Model", route="/", model="", method="GET", path="/", status=status, ms=1,
            queue_ms=0, cache="", replica="EjYmnQ", client="",
        )  # fmt: skip
    writer.flush()
    assert [r.fields["status"] for r in read(names=("Model",))] == [503]
    assert [r.fields["status"] for r in read(names=("router-0",))] == [200, 503]


def test_the_supervisors_lines_about_a_child_belong_to_it(make_writer: MakeWriter, read: Read) -> None:
    make_writer("supervisor").event("Model#EjYmnQ exited.", event=events.CHILD_EXITED, child="Model#EjYmnQ")
    for name in ("Model", "EjYmnQ", "Model#EjYmnQ", "supervisor"):
        assert len(read(names=(name,))) == 1
    assert read(names=("Other",)) == []


def test_segments_older_than_since_are_not_opened(make_writer: MakeWriter, tmp_path: Path, read: Read) -> None:
    make_writer().event("now")
    path = tmp_path / "Model-EjYmnQ" / "events-000001.jsonl"
    os.utime(path, (1, 1))
    assert read(since=1_600_000_000.0) == []
    assert read(since=1_600_000_000.0, last=1) == []


def test_torn_and_foreign_lines_are_skipped(talk: object, tmp_path: Path, read: Read) -> None:
    (tmp_path / "stray-file").write_text("x")
    path = tmp_path / "router-0" / "events-000001.jsonl"
    path.write_bytes(path.read_bytes() + b'\n[1]\n"x"\n{"ts":"no"}\n\xff\xfe\n{"ts":1700000099.0,"msg":"ok"}\n{"ts":17')
    assert read(last=1)[0].msg == "ok"
    assert read()[-1].msg == "ok"
    assert len(read()) == 13


def test_no_logs_are_no_error(tmp_path: Path) -> None:
    assert list(read_logs(tmp_path / "missing", LogFilter())) == []
    assert list(read_logs(tmp_path / "missing", LogFilter(last=3))) == []


@pytest.mark.parametrize("length", [1, 70, 40_000, 70_000, 140_000])
def test_lines_backward_is_forward_reversed(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"".join(b"%d:" % n + b"x" * length + b"\n" for n in range(7)) + b"torn")
    forward = path.read_bytes().split(b"\n")
    assert list(lines_backward(path)) == forward[::-1]
    limit = len(forward[0]) + len(forward[1]) + 2
    assert list(lines_backward(path, limit)) == [forward[1], forward[0]]


class Following:
    """Follows the logs; each step is what happens while the follower sleeps."""

    def __init__(self, logs_dir: Path, clock: FakeClock, **wanted: object) -> None:
        self.steps: list[Callable[[], object]] = []
        self._logs_dir = logs_dir
        self._clock = clock
        self._filter = LogFilter(**wanted)  # type: ignore[arg-type]
        self._quiet_polls = 0

    def run(self) -> list[str]:
        def sleep(seconds: float) -> None:
            self._clock.advance(seconds)
            if self.steps:
                self.steps.pop(0)()
            else:
                self._quiet_polls += 1

        records: Iterator[LogRecord] = follow_logs(
            self._logs_dir, self._filter, stop=lambda: self._quiet_polls > 3, clock=self._clock, sleep=sleep
        )
        return [record.msg for record in records]


def test_following_begins_with_the_last_n(talk: dict[str, LogWriter], tmp_path: Path, clock: FakeClock) -> None:
    following = Following(tmp_path, clock, last=1)
    following.steps = [lambda: talk["router-0"].event("new")]
    assert following.run() == ["router-0 says 3", "new"]


def test_following_orders_what_comes_late(make_writer: MakeWriter, tmp_path: Path, clock: FakeClock) -> None:
    fast, slow = make_writer("a-1"), make_writer("b-1")
    following = Following(tmp_path, clock)

    def both() -> None:
        slow.started("early", "/", "")  # stays in the buffer
        clock.advance(0.01)
        fast.event("late")

    following.steps = [both, slow.flush]
    assert following.run() == ["Started executing request early", "late"]


def test_following_survives_rotation_and_deleted_segments(
    make_writer: MakeWriter, tmp_path: Path, clock: FakeClock
) -> None:
    writer = make_writer(events_quota=Quota(segment_bytes=500, total_bytes=1500))
    following = Following(tmp_path, clock)
    spoken = [str(number) for number in range(30)]

    def say(number: str) -> None:
        writer.event(number)
        clock.advance(0.5)

    following.steps = [partial(say, number) for number in spoken]
    assert following.run() == spoken


def test_following_survives_restarts_and_a_deleted_folder(
    make_writer: MakeWriter, tmp_path: Path, clock: FakeClock
) -> None:
    first = make_writer("router-0")
    first.event("one")
    following = Following(tmp_path, clock)
    following.steps = [
        lambda: make_writer("router-0").event("two"),
        lambda: make_writer("Model#newone").event("three"),
        lambda: clock.advance(1.0),
        lambda: shutil.rmtree(tmp_path / "router-0"),
        lambda: clock.advance(1.0),
        lambda: make_writer("router-0").event("four"),
    ]
    assert following.run() == ["one", "two", "three", "four"]


def test_following_waits_for_the_end_of_a_line(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "p" / "events-000001.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"ts":1.0,"msg":"first"}\n{"ts":2.0,"ms')
    following = Following(tmp_path, clock)

    def finish() -> None:
        with path.open("ab") as file:
            file.write(b'g":"second"}\n')

    following.steps = [lambda: None, finish]
    assert following.run() == ["first", "second"]


def test_the_logs_of_the_dead_are_pruned_oldest_first(tmp_path: Path) -> None:
    for number, name in enumerate(["old", "live", "young"]):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "events-000001.jsonl").write_bytes(b"x" * 100)
        os.utime(folder / "events-000001.jsonl", (number, number))
    assert prune_logs(tmp_path, {tmp_path / "live"}, keep_bytes=250) == [tmp_path / "old"]
    assert prune_logs(tmp_path, {tmp_path / "live"}, keep_bytes=50) == [tmp_path / "young"]
    assert [path.name for path in tmp_path.iterdir()] == ["live"]
    assert prune_logs(tmp_path / "missing", set()) == []


def test_of_many_short_lives_the_last_are_kept(tmp_path: Path) -> None:
    for number, name in enumerate(["live", "first", "second", "third"]):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "output.log").write_bytes(b"x")
        os.utime(folder / "output.log", (number, number))
    (tmp_path / "first" / "gone").symlink_to("nowhere")
    assert prune_logs(tmp_path, {tmp_path / "live"}, keep_folders=2) == [tmp_path / "first"]
    assert prune_logs(tmp_path, {tmp_path / "live"}, keep_folders=0) == [tmp_path / "second", tmp_path / "third"]
    assert prune_logs(tmp_path, {tmp_path / "live"}, keep_folders=0) == []
