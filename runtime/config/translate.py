"""pydantic's errors as problems of the file: each at its place, in words for who wrote the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from runtime.config.document import Document, Path
from runtime.config.keys import SECTIONS, is_secret, section_at
from runtime.config.problems import Problem
from runtime.config.scalars import resolve_plain
from runtime.config.suggest import did_you_mean

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_ABSENT = object()
_LIMITS = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most"}
_ELSEWHERE = {
    "applications": "list what runs under 'deployments'",
    "http_options": "write its keys under 'http'",
    "proxy_location": "write 'routers', how many share the port, under 'http'",
    "autoscaling_config": "the number of replicas is num_replicas, changed by hand with `mux scale`",
    "max_concurrent_queries": "it is called 'max_ongoing_requests'",
    "max_models": "it is called 'max_num_models_per_replica'",
    "ray_actor_options": "write environment variables under 'env', threads under 'torch_threads'",
    "replicas": "it is called 'num_replicas'",
    "runtime_env": "write environment variables under 'env'",
    "working_dir": "import paths start from the folder of this file",
    "env_vars": "it is called 'env'",
    "timeout_s": "it is called 'request_timeout_s'",
}


def problems_of(errors: Sequence[ErrorDetails], document: Document) -> list[Problem]:
    """Return one problem per error, leaving out those that follow from a value that could not be read."""
    problems = []
    for error in errors:
        path = _path(error["loc"], document.data)
        if not any(path[:length] in document.broken for length in range(1, len(path) + 1)):
            problems.append(_problem(error, path, document))
    return problems


def _path(loc: Sequence[str | int], data: Any) -> Path:
    """Return the part of ``loc`` that is in the file: pydantic adds names of union members and the like."""
    path: list[str | int] = []
    for part in loc:
        inside = _child(data, part)
        if inside is not _ABSENT:
            data = inside
            path.append(part)
    return tuple(path)


def _child(data: Any, part: str | int) -> Any:
    try:
        return _ABSENT if isinstance(data, str) else data[part]
    except (KeyError, IndexError, TypeError):
        return _ABSENT


def _problem(error: ErrorDetails, path: Path, document: Document) -> Problem:
    kind, loc = error["type"], error["loc"]
    if kind == "missing":
        place = f" in {label(path)}" if path else ""
        return document.problem(document.positions.value(path), f"{str(loc[-1])!r} is missing{place}")
    if kind == "extra_forbidden":
        place = f" in {label(path[:-1])}" if len(path) > 1 else ""
        message = f"unknown key {str(path[-1])!r}{place}"
        return document.problem(document.positions.key(path), message, _known(path))
    if loc and loc[-1] == "[key]":
        return document.problem(document.positions.key(path), error["msg"])
    message, hint = _sentence(error, path)
    if path in document.interpolated and not is_secret(path):
        message += f" (from {document.interpolated[path]})"
    return document.problem(document.positions.value(path), message, hint)


def _known(path: Path) -> str:
    """Return what may have been meant by the unknown key at ``path``."""
    section, name = section_at(path[:-1]), str(path[-1])
    if section is None:
        return ""
    if meant := did_you_mean(name, section.model_fields):
        return meant
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    for home, other in SECTIONS.items():
        if name in other.model_fields and other is not section:
            return f"it belongs {_under(home)}"
    return f"known here: {', '.join(section.model_fields)}" if len(section.model_fields) <= 8 else ""


def _under(home: tuple[str, ...]) -> str:
    if not home:
        return "at the top of the file"
    return "in an entry of 'deployments'" if home == ("deployments", "*") else f"under {home[-1]!r}"


def label(path: Path) -> str:
    """Return a path as it is written in sentences: ``http.port``, ``deployments[0].preload[1]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _name(path: Path) -> str:
    """Return the end of a path that names the value in its own section."""
    start = 2 if len(path) > 2 and path[0] == "deployments" else 0
    return label(path[start:]) or "the file"


def _sentence(error: ErrorDetails, path: Path) -> tuple[str, str]:
    kind, context, name = error["type"], error.get("ctx") or {}, _name(path)
    shown = "" if is_secret(path) else f", not {describe(error['input'])}"
    if kind in _WANTED:
        return f"{name} must be {_WANTED[kind]}{shown}", _quotes(kind, error["input"])
    if kind in _LIMITS:
        limit = next(iter(context.values()))
        return f"{name} must be {_LIMITS[kind]} {limit:g}{shown}", ""
    if kind == "literal_error":
        meant = did_you_mean(str(error["input"]), re.findall(r"'([^']*)'", context["expected"]))
        return f"{name} must be {context['expected']}{shown}", meant
    if kind == "string_too_short":
        return f"{name} must not be empty", "" if is_secret(path) else "remove the key for its default"
    if kind == "too_short":
        return f"{name} must not be empty", ""
    return f"{name}: {error['msg']}", ""


def describe(value: Any) -> str:
    """Return a value in words: ``the text '2'``, ``the number 1.5``, ``true``, ``a list``."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value if len(value) <= 40 else value[:37] + '...'!r}"
    return "a list" if isinstance(value, list) else "a mapping"


def _quotes(kind: str, value: Any) -> str:
    if kind == "string_type" and isinstance(value, int | float):
        return "put it in quotes"
    if not isinstance(value, str):
        return ""
    if kind == "bool_type":
        return "write true or false" if value.lower() in ("yes", "no", "on", "off", "y", "n", "1", "0") else ""
    plain = resolve_plain(value)
    if kind in ("int_type", "float_type") and isinstance(plain, int | float) and not isinstance(plain, bool):
        return "remove the quotes"
    if kind in ("int_type", "float_type") and isinstance(resolve_plain(value.replace("_", "")), int):
        return "write the digits without '_'"
    return ""
