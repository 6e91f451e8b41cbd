"""print and logging of user code as records."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import pytest

from runtime.observe.capture import capture_user_output
from runtime.observe.record import LogRecord
from tests.observe.conftest import MakeWriter

Read = Callable[..., list[LogRecord]]
Capture = Callable[[], AbstractContextManager[None]]
request: ContextVar[tuple[str, str, str]] = ContextVar("request", default=("", "", ""))


@pytest.fixture
def capture(make_writer: MakeWriter) -> Capture:
    """Capture output within a ``with``; pytest itself puts other streams in place between fixtures and tests."""

    @contextmanager
    def captured() -> Iterator[None]:
        before = (sys.stdout, sys.stderr, logging.Logger.callHandlers)
        level, handlers = logging.root.level, logging.root.handlers[:]
        undo = capture_user_output(make_writer(), request.get)
        try:
            yield
        finally:
            undo()
            request.set(("", "", ""))
            logging.root.handlers[:] = handlers
            assert logging.root.level in (level, logging.DEBUG)
            logging.root.setLevel(level)
            assert (sys.stdout, sys.stderr, logging.Logger.callHandlers) == before

    return captured


def test_print_knows_its_request_and_its_line(capture: Capture, read: Read) -> None:
    with capture():
        request.set(("CUp", "/", "3"))
        print("hello", "world")
        request.set(("", "", ""))
        print("to stderr", file=sys.stderr)
        hello, other = read()
        assert (hello.msg, hello.request_id, hello.route, hello.model) == ("hello world", "CUp", "/", "3")
        assert (hello.file, hello.event, hello.level) == ("test_observe_capture.py", "output.print", "INFO")
        assert (other.level, other.fields, other.request_id) == ("WARNING", {"stream": "stderr"}, "")


def test_pieces_of_a_line_become_one_record_per_request(capture: Capture, read: Read) -> None:
    with capture():
        request.set(("a", "/", ""))
        print("one ", end="")
        request.set(("b", "/", ""))
        print("two ", end="", flush=True)
        request.set(("a", "/", ""))
        print("half\nand more\n\nrest", end="")
        request.set(("b", "/", ""))
        print("half")
        assert [(r.request_id, r.msg) for r in read()] == [
            ("a", "one half"),
            ("a", "and more"),
            ("a", ""),
            ("b", "two half"),
        ]
    assert (read()[-1].request_id, read()[-1].msg) == ("a", "rest")


def test_a_progress_bar_is_its_last_state(capture: Capture, read: Read) -> None:
    with capture():
        for percent in (10, 50, 100):
            sys.stderr.write(f"\r{percent}%")
            sys.stderr.flush()
        sys.stderr.write("\n")
        assert [r.msg for r in read()] == ["100%"]


def test_an_endless_line_and_endless_many_pieces_are_bounded(capture: Capture, read: Read) -> None:
    with capture():
        sys.stdout.write("x" * 70_000)
        assert len(read()) == 1
        for number in range(300):
            request.set((str(number), "", ""))
            sys.stdout.write("piece")
        request.set(("", "", ""))
        assert [r.request_id for r in read()[1:3]] == ["0", "1"]


def test_logging_keeps_level_logger_and_traceback(capture: Capture, read: Read) -> None:
    with capture():
        request.set(("CUp", "/", "3"))
        log = logging.getLogger("user.code")
        log.info("loaded %s", "it")
        log.debug("too quiet")
        try:
            raise ValueError("boom")
        except ValueError:
            log.exception("went wrong")
        alone = logging.getLogger("user.alone")
        alone.propagate = False  # pytest's handler on the root raises what the next line does wrong
        alone.warning("bad %d", "format")
        request.set(("", "", ""))
        info, error, bad = read()
        assert (info.msg, info.level, info.fields, info.file) == (
            "loaded it",
            "INFO",
            {"logger": "user.code"},
            "test_observe_capture.py",
        )
        assert info.request_id == "CUp"
        assert error.level == "ERROR"
        assert error.msg.startswith("went wrong\nTraceback (most recent call last):")
        assert error.msg.endswith("ValueError: boom")
        assert "arguments could not be formatted" in bad.msg


def test_user_handlers_run_and_nothing_is_logged_twice(capture: Capture, read: Read) -> None:
    with capture():
        seen: list[str] = []

        class Collect(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.append(record.getMessage())

        logging.root.handlers[:] = []
        logging.basicConfig(level=logging.DEBUG)  # must work: a StreamHandler to the captured stderr, and the level
        logging.root.addHandler(Collect())
        logging.getLogger("x").debug("once")
        assert seen == ["once"]
        assert [(r.msg, r.level) for r in read()] == [("once", "DEBUG")]
        print("after")
        assert read()[-1].msg == "after"


def test_a_printed_traceback_is_all_there(capture: Capture, read: Read) -> None:
    with capture():
        try:
            raise KeyError("x")
        except KeyError:
            traceback.print_exc()
        assert read()[0].msg == "Traceback (most recent call last):"
        assert read()[-1].msg == "KeyError: 'x'"


def test_threads_do_not_mix(capture: Capture, read: Read) -> None:
    with capture():

        def talk(who: int) -> None:
            for _ in range(50):
                print(who, who, who)

        threads = [threading.Thread(target=talk, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(r.msg for r in read()) == sorted(f"{who} {who} {who}" for who in range(4) for _ in range(50))


def test_the_stream_is_still_a_file(capture: Capture) -> None:
    with capture():
        stream = sys.stdout
        assert not stream.isatty()
        assert stream.writable()
        assert stream.encoding
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        with pytest.raises(TypeError):
            stream.write(b"bytes")  # type: ignore[arg-type]
