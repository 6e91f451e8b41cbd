"""What a plain YAML scalar means: YAML 1.2's core schema, where ``no``, ``on``, ``010`` and dates hold no surprise."""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,100}")
_BASED = re.compile(r"0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG = "tag:yaml.org,2002:"


def resolve_plain(text: str) -> Scalar:
    """Return the value of an unquoted scalar: null, a boolean, a number or else the text itself."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def resolve_tagged(text: str, tag: str) -> Scalar:
    """Return the value of a scalar with an explicit tag, ``!!str`` and the like.

    Raises ``ValueError`` with a sentence for a tag that is not known or does not fit.
    """
    if tag == f"{_TAG}str":
        return text
    value = resolve_plain(text)
    kinds: dict[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "bool": bool, "null": type(None)}
    name = tag.removeprefix(_TAG)
    if name not in kinds or not tag.startswith(_TAG):
        raise ValueError(f"the tag {tag.replace(_TAG, '!!')!r} is not allowed; write plain YAML")
    if not isinstance(value, kinds[name]) or (isinstance(value, bool) and name != "bool"):
        raise ValueError(f"{text!r} is not a !!{name}")
    return float(value) if name == "float" and isinstance(value, int) else value
