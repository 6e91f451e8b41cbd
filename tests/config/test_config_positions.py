"""Every key and value is found where it stands, however the text is laid out."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.document import Document
from runtime.config.problems import Span
from runtime.config.reader import Kinds, read_document
from runtime.config.scalars import resolve_plain

_PLAIN = Kinds(as_written=lambda path: False, secret=lambda path: False)
_LETTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="$")
# The dumper goes by YAML 1.1, where 0E0 is text that needs no quotes.
_TEXT = st.text(_LETTERS, max_size=8).filter(lambda text: not text or isinstance(resolve_plain(text), str))
_SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | _TEXT
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=12,
)
_ROOTS = st.dictionaries(_TEXT.filter(lambda key: not key.startswith("x-")), _VALUES, min_size=1, max_size=4)


def read(text: str, env: dict[str, str] | None = None) -> Document:
    return read_document(text, "mux.yaml", env or {}, _PLAIN)


def text_at(document: Document, span: Span) -> str:
    line = document.lines[span.line - 1]
    return line[span.column - 1 : span.column - 1 + span.length]


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


@given(
    root=_ROOTS,
    flow=st.sampled_from([None, True, False]),
    style=st.sampled_from([None, '"', "'"]),
    indent=st.integers(2, 6),
)
def test_each_position_holds_the_text_of_its_key_and_value(
    root: dict[str, Any], flow: bool | None, style: str | None, indent: int
) -> None:
    text = yaml.safe_dump(
        root, default_flow_style=flow, default_style=style, indent=indent, allow_unicode=True, width=10**6
    )
    document = read(text)
    assert document.problems == []
    assert document.data == root
    for path, value in leaves(root):
        assert read(f"v: {text_at(document, document.positions.value(path))}").data == {"v": value}
        for length in range(1, len(path) + 1):
            if isinstance(key := path[length - 1], str):
                assert read(f"v: {text_at(document, document.positions.key(path[:length]))}").data == {"v": key}


def test_an_absent_path_stands_where_its_nearest_parent_does() -> None:
    positions = read("a:\n  b: {c: 1}\n").positions
    assert positions.value(("a", "b", "c")) == Span(2, 10, 1)
    assert positions.value(("a", "b", "d", 3)) == Span(2, 6, 6)
    assert positions.key(("a", "b")) == Span(2, 3, 1)
    assert positions.value(()) == Span(1, 1, 2)


def test_an_alias_and_a_merge_stand_where_they_are_written_out() -> None:
    document = read("x-a: &a\n  n: 1\nb:\n  <<: *a\n  m: 2\nc: *a\n")
    assert document.data == {"b": {"m": 2, "n": 1}, "c": {"n": 1}}
    assert document.positions.key(("b", "n")) == Span(2, 3, 1)
    assert document.positions.value(("c", "n")) == Span(2, 6, 1)


def test_own_keys_win_over_merged_ones_and_earlier_merges_over_later() -> None:
    document = read("x-a: &a {n: 1, m: 1}\nx-b: &b {<<: *a, m: 2, o: 2}\nc: {n: 3, <<: [*b, *a]}\n")
    assert document.data == {"c": {"n": 3, "m": 2, "o": 2}}


def test_scalars_mean_what_yaml_1_2_says() -> None:
    document = read(
        "{a: no, b: on, c: 010, d: 0x10, e: 1e3, f: 2024-01-01, g: '1', h: ~, i: 1:30, j: !!str 5, k: !!float 1, "
        "l: True}"
    )
    assert document.data == {
        "a": "no", "b": "on", "c": 10, "d": 16, "e": 1000.0, "f": "2024-01-01", "g": "1", "h": None, "i": "1:30",
        "j": "5", "k": 1.0, "l": True,
    }  # fmt: skip


def test_lines_of_windows_count_as_lines() -> None:
    assert read("a: 1\r\nb:\r\n  c: 2\r\n").positions.key(("b", "c")) == Span(3, 3, 1)
