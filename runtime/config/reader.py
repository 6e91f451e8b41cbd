"""Reads a YAML text into a ``Document``: nodes, positions, ``${VAR}``, aliases and merge keys."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml

from runtime.config.document import Document, Path
from runtime.config.interpolate import interpolate
from runtime.config.problems import Span
from runtime.config.scalars import Scalar, resolve_plain, resolve_tagged

try:
    from yaml import CBaseLoader as _BaseLoader
except ImportError:  # PyYAML without libyaml: the same, slower
    from yaml import BaseLoader as _BaseLoader  # type: ignore[assignment]

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_ONLY_A_REFERENCE = re.compile(r"""["']?\$\{\w+(:\?[^}]*)?\}["']?""")
_MAX_VALUES = 100_000
_MAX_DEPTH = 100
_PLAIN = "?"
_YAML = "tag:yaml.org,2002:"

Entries = dict[str, tuple[yaml.Node, yaml.Node]]


class _Loader(_BaseLoader):
    """Composes nodes only. A plain scalar gets the tag '?': what it means is settled after interpolation."""

    def resolve(self, kind: type[yaml.Node], value: object, implicit: object) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if cast("tuple[bool, bool]", implicit)[0] else f"{_YAML}str"
        return f"{_YAML}map" if kind is yaml.MappingNode else f"{_YAML}seq"


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the reader must know of the keys: which values are text as written, and which are secret."""

    as_written: Callable[[Path], bool]
    secret: Callable[[Path], bool]


def read_document(text: str, file: str, env: Mapping[str, str], kinds: Kinds) -> Document:
    """Return the one document of ``text``, ``${VAR}`` replaced from ``env``; never raises for what the text says.

    Top-level keys that start with ``x-`` are left out: they hold what is only there to be anchored.
    """
    document = Document(file, _BREAK.split(text))
    try:
        if _too_deep(text):
            document.report(Span(1, 1), f"the file is nested more than {_MAX_DEPTH} levels deep")
            return document
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as exc:
        _report_syntax(document, exc)
        return document
    if root is None:
        document.report(Span(1, 1), "the file is empty", "run `mux init` in an empty folder for a start")
    elif not isinstance(root, yaml.MappingNode):
        document.report(Span(1, 1), "the file must hold keys, as 'deployments:'", "run `mux schema` for the whole list")
    else:
        try:
            document.data = _Reader(document, env, kinds).value(root, ())
        except _TooLarge:
            document.report(
                Span(1, 1), f"the file's aliases stand for more than {_MAX_VALUES:,} values or {_MAX_DEPTH} levels"
            )
    return document


def _too_deep(text: str) -> bool:
    """Tell whether collections are nested too deeply. Composing is recursive, in C without a bound."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                return True
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return False


def _report_syntax(document: Document, exc: yaml.YAMLError) -> None:
    if not isinstance(exc, yaml.MarkedYAMLError):
        span = _offset(document.lines, getattr(exc, "position", 0))
        document.report(span, f"not YAML: {getattr(exc, 'reason', exc)}")
        return
    mark, context, what = exc.problem_mark, exc.context_mark, exc.problem or "it cannot be read"
    if what == "second occurrence":  # of an anchor: the other half of the sentence is in the context
        what = (exc.context or what).partition(";")[0].removeprefix("found ")
    if context is not None and (mark is None or not _after(document.lines, mark).strip()):
        mark = context  # it is the end of the file: what was begun and never ended says more
    span = Span(min(mark.line + 1, len(document.lines)), mark.column + 1) if mark else Span(1, 1)
    source = document.lines[span.line - 1]
    hint = ""
    if "\t" in source[: span.column]:
        hint = "YAML is indented with spaces, not tabs"
    elif "${" in source:
        hint = 'put a value with ${...} in double quotes: "${VAR}"'
    elif "{model_id}" in source:
        hint = 'put a value that begins with {model_id} in double quotes: "{model_id}/..."'
    elif "single document" in str(exc):
        hint = "keep one document in the file: remove the '---' between them"
    elif "mapping values" in what:
        hint = "put text that holds ': ' in quotes, and keys of one level in one column"
    elif "end of stream" in what:
        hint = "close the quote"
    document.report(span, f"not YAML: {what}", hint)


def _after(lines: Sequence[str], mark: yaml.Mark) -> str:
    return "".join(lines[mark.line :])[mark.column :]


def _offset(lines: Sequence[str], position: int) -> Span:
    """Return the place of the byte ``position``, as libyaml's reader counts."""
    for number, line in enumerate(lines, start=1):
        size = len(line.encode()) + 1
        if position < size:
            return Span(number, len(line.encode()[:position].decode(errors="ignore")) + 1)
        position -= size
    return Span(1, 1)


class _TooLarge(Exception):
    """Aliases of aliases: the text stands for far more than it says."""


class _Reader:
    """Turns nodes into values and notes where each stands."""

    def __init__(self, document: Document, env: Mapping[str, str], kinds: Kinds) -> None:
        self.document = document
        self.env = env
        self.kinds = kinds
        self.open: list[yaml.Node] = []  # the collections that the current node lies in
        self.values = 0  # counts aliases as often as they are used

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.document.positions.values[path] = span = self.span(node)
        self.count()
        if any(node is outer for outer in self.open):
            self.broken(path, span, "the value holds an alias of itself", "")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path, span)
        self.open.append(node)
        try:
            if node.tag not in (f"{_YAML}map", f"{_YAML}seq"):
                self.broken(path, span, f"the tag {node.tag!r} is not allowed", "write plain YAML")
                return None
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            return self.mapping(cast("yaml.MappingNode", node), path)
        finally:
            self.open.pop()

    def count(self) -> None:
        self.values += 1
        if self.values > _MAX_VALUES or len(self.open) > _MAX_DEPTH:
            raise _TooLarge

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, (key_node, value_node) in self.entries(node).items():
            if not path and key.startswith("x-"):
                continue
            self.document.positions.keys[(*path, key)] = self.span(key_node)
            result[key] = self.value(value_node, (*path, key))
        return result

    def entries(self, node: yaml.MappingNode) -> Entries:
        """Return a mapping's own entries, then those of its merge keys that it does not set itself."""
        own: Entries = {}
        merges: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag == _PLAIN and key_node.value == "<<":
                merges.append(value_node)
            elif (key := self.key(key_node)) is None:
                continue
            elif key in own:
                first = self.span(own[key][0])
                self.document.report(self.span(key_node), f"key {key!r} is set twice", f"first on line {first.line}")
            else:
                own[key] = (key_node, value_node)
        for merged in merges:
            for source in merged.value if isinstance(merged, yaml.SequenceNode) else [merged]:
                for key, entry in self.merge(source).items():
                    own.setdefault(key, entry)
        return own

    def merge(self, source: yaml.Node) -> Entries:
        self.count()
        if not isinstance(source, yaml.MappingNode) or any(source is outer for outer in self.open):
            self.document.report(self.span(source), "'<<' must name a mapping with keys", "as in '<<: *defaults'")
            return {}
        self.open.append(source)
        try:
            return self.entries(source)
        finally:
            self.open.pop()

    def key(self, node: yaml.Node) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self.document.report(self.span(node), "a key must be text, not a list or a mapping")
            return None
        if node.tag == _PLAIN and not isinstance(resolve_plain(node.value), str):
            self.document.report(
                self.span(node), f"the key {node.value or 'null'} is not text", f'write "{node.value}"'
            )
            return None
        return str(node.value)

    def scalar(self, node: yaml.ScalarNode, path: Path, span: Span) -> Scalar:
        if self.kinds.secret(path):
            self.mask(node)
        text, faults = interpolate(node.value, self.env) if "$" in node.value else (node.value, [])
        for fault in faults:
            self.broken(path, self.within(span, fault.expression), fault.message, fault.hint)
        if faults:
            return None
        if text != node.value:
            self.document.interpolated[path] = node.value
        try:
            value = resolve_plain(text) if node.tag == _PLAIN else resolve_tagged(text, node.tag)
        except ValueError as exc:
            self.broken(path, span, str(exc), "")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.broken(path, span, f"{text} is not a finite number", "")
            return None
        return text if value is not None and self.kinds.as_written(path) else value

    def broken(self, path: Path, span: Span, message: str, hint: str) -> None:
        self.document.broken.add(path)
        self.document.report(span, message, hint)

    def mask(self, node: yaml.ScalarNode) -> None:
        first, last = node.start_mark, node.end_mark
        for number in range(first.line, min(last.line + 1, len(self.document.lines))):
            line = self.document.lines[number]
            start = first.column if number == first.line else 0
            end = last.column if number == last.line else len(line)
            if end > start and not _ONLY_A_REFERENCE.fullmatch(line[start:end].strip()):
                self.document.masks.append(Span(number + 1, start + 1, end - start))

    def within(self, span: Span, expression: str) -> Span:
        """Return where ``expression`` stands in the scalar at ``span``; the scalar where it cannot be seen."""
        found = self.document.lines[span.line - 1].find(expression, span.column - 1)
        return Span(span.line, found + 1, len(expression)) if found >= 0 else span

    def span(self, node: yaml.Node) -> Span:
        start, end = node.start_mark, node.end_mark
        line = self.document.lines[start.line] if start.line < len(self.document.lines) else ""
        last = end.column if end.line == start.line else len(line.rstrip())
        return Span(start.line + 1, start.column + 1, max(1, last - start.column))
