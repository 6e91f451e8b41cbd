"""A YAML text as plain values: where each key and value stands, and what is wrong with it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runtime.config.problems import Problem, Span

Path = tuple[str | int, ...]


@dataclass
class Positions:
    """Where each path's key and value stand. A path that is not there stands where its nearest parent does."""

    keys: dict[Path, Span] = field(default_factory=dict)
    values: dict[Path, Span] = field(default_factory=dict)

    def key(self, path: Path) -> Span:
        return self.keys.get(path) or self.value(path)

    def value(self, path: Path) -> Span:
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, Span(1, 1))


@dataclass
class Document:
    """``data`` is what the text says; ``broken`` holds the paths whose value could not be read."""

    file: str
    lines: list[str]
    data: Any = None
    positions: Positions = field(default_factory=Positions)
    noted: list[tuple[Span, str, str]] = field(default_factory=list)
    broken: set[Path] = field(default_factory=set)
    masks: list[Span] = field(default_factory=list)
    interpolated: dict[Path, str] = field(default_factory=dict)

    def problem(self, span: Span, message: str, hint: str = "") -> Problem:
        """Return a problem at ``span``, with its line; secrets in the line are masked."""
        source = self.lines[span.line - 1] if span.line <= len(self.lines) else ""
        for mask in self.masks:
            if mask.line == span.line:
                start, end = mask.column - 1, mask.column - 1 + mask.length
                source = source[:start] + "*" * len(source[start:end]) + source[end:]
        return Problem(self.file, span.line, span.column, message, hint, source, span.length)

    def report(self, span: Span, message: str, hint: str = "") -> None:
        """Note a problem. Its line is shown only when all of the text was read and every secret is known."""
        self.noted.append((span, message, hint))

    @property
    def problems(self) -> list[Problem]:
        return [self.problem(*note) for note in self.noted]
