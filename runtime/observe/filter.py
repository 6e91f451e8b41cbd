"""Which log records a person asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from runtime.observe.events import REQUEST_ACCESS
from runtime.observe.record import LogRecord, level_rank
from runtime.observe.text import render


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What to show; an empty field asks for everything.

    ``names``: a process (``router-0``, ``Model#EjYmnQ``), a deployment, a replica (``EjYmnQ``), or a group of
    processes (``router``); any of them. ``since``: seconds since the epoch. ``level``: this and the more severe.
    ``grep``: a regular expression, searched in the line as it is shown; raises ``re.error`` if it is none.
    ``last``: only that many of the latest records.
    """

    names: tuple[str, ...] = ()
    since: float | None = None
    level: str = ""
    model: str = ""
    grep: str = ""
    last: int | None = None
    _pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pattern", re.compile(self.grep) if self.grep else None)

    def matches(self, record: LogRecord) -> bool:
        """Tell whether the record is asked for; ``last`` is the reader's business."""
        if self.since is not None and record.ts < self.since:
            return False
        if self.level and level_rank(record.level) < level_rank(self.level):
            return False
        if self.model and record.model != self.model:
            return False
        if self.names and not any(_is_named(record, name) for name in self.names):
            return False
        return self._pattern is None or self._pattern.search(render(record)) is not None


def _is_named(record: LogRecord, name: str) -> bool:
    """Tell whether ``name`` is who wrote the record, or what it is about.

    The router's access line of a request that went well is left out where a deployment or a replica is named:
    its replica says the same in two lines.
    """
    if name in (record.process, record.process.rpartition("-")[0]):
        return True
    if record.event == REQUEST_ACCESS and record.level == "INFO":
        return False
    deployment = f"{record.app}_{record.deployment}"
    names = {record.deployment, record.replica, deployment, f"{deployment}#{record.replica}"}
    child = str(record.fields.get("child", ""))  # whom a line of the supervisor is about
    names |= {f"{record.deployment}#{record.replica}", child, *child.split("#")}
    return name in names
