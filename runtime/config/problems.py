"""What is wrong with a configuration, as a listing: file:line:col, a sentence, the line and a caret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runtime.errors import ConfigError

_WIDEST = 160


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one line of the file. ``line`` and ``column`` count characters from 1."""

    line: int
    column: int
    length: int = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. ``message`` says what, ``hint`` what to write instead; secrets are masked."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    source: str = ""
    length: int = 1

    @property
    def headline(self) -> str:
        """The first line of its listing: ``mux.yaml:7:5: unknown key 'prot'; did you mean 'port'?``."""
        tail = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{tail}"

    def __str__(self) -> str:
        if not self.source.strip():
            return self.headline
        source, column = _window(self.source, self.column - 1)
        room = "".join("\t" if c == "\t" else " " for c in source[:column])
        width = max(1, min(self.length, len(source) - column))
        shown = "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in source)
        return f"{self.headline}\n{self.line:>5} | {shown}\n{' ' * 5} | {room}{'^' * width}"


def _window(source: str, column: int) -> tuple[str, int]:
    """Return the part of a long line round ``column``, and where the column is in it."""
    start = max(0, column - _WIDEST // 2) if len(source) > _WIDEST else 0
    return source[start : start + _WIDEST], column - start


class ConfigProblems(ConfigError):
    """The configuration is wrong; the message lists every problem, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda p: (p.line, p.column, p.message))
        count = len(self.problems)
        listing = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"{listing}\n{count} problem{'s' if count != 1 else ''} in {self.problems[0].file}")


class ConfigNotFound(ConfigError):
    """There is no such configuration file, or it cannot be read."""

    code = "config_not_found"
    status = 404
