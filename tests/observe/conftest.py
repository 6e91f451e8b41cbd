"""A log writer on a fake clock, closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.observe.logs import Identity, LogWriter
from runtime.observe.reader import LogFilter, read_logs
from runtime.observe.record import LogRecord
from tests.observe.fakes import FakeClock

MakeWriter = Callable[..., LogWriter]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_writer(tmp_path: Path, clock: FakeClock) -> Iterator[MakeWriter]:
    """Make a writer for the process ``Model#EjYmnQ``, or another; its folder is below ``tmp_path``."""
    made: list[LogWriter] = []

    def make(process: str = "Model#EjYmnQ", **options: Any) -> LogWriter:
        deployment, _, replica = process.partition("#")
        identity = Identity(process, "default", deployment, replica) if replica else Identity(process)
        writer = LogWriter(tmp_path / process.replace("#", "-"), identity, clock=clock, **options)
        made.append(writer)
        return writer

    yield make
    for writer in made:
        writer.close()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[LogRecord]]:
    """Read all records below ``tmp_path``."""
    return lambda **wanted: list(read_logs(tmp_path, LogFilter(**wanted)))
