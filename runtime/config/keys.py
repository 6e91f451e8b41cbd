"""The keys of the file: which section has which, which values are secret, which are text as written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from runtime.config.fields import Secret, Section
from runtime.config.meanings import meanings
from runtime.config.models import S3, Cache, Config, Deployment, Http, ModelIdConfig

SECTIONS: dict[tuple[str, ...], type[Section]] = {
    (): Config,
    ("http",): Http,
    ("model_id",): ModelIdConfig,
    ("s3",): S3,
    ("cache",): Cache,
    ("deployments", "*"): Deployment,
    ("deployments", "*", "s3"): S3,
}

_AS_WRITTEN = {
    ("deployments", "*", "env", "*"),
    ("deployments", "*", "preload", "*"),
    ("deployments", "*", "pin", "*"),
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key as a reader of the documentation sees it. ``path``: ``deployments[].num_replicas``."""

    path: str
    section: str
    name: str
    default: Any
    required: bool
    description: str


def pattern(path: Sequence[str | int]) -> tuple[str, ...]:
    """Return the path with '*' for list positions and for the names in free mappings such as ``env``."""
    plain = tuple("*" if isinstance(part, int) else part for part in path)
    return (*plain[:3], "*") if len(plain) == 4 and plain[:3] == ("deployments", "*", "env") else plain


def section_at(path: Sequence[str | int]) -> type[Section] | None:
    """Return the model of the section at ``path``; None for anything that is not a section."""
    return SECTIONS.get(pattern(path))


def is_secret(path: Sequence[str | int]) -> bool:
    """Tell whether the value at ``path`` must never be shown."""
    if pattern(path) == ("deployments", "*", "env", "*"):
        return True
    section = section_at(path[:-1]) if path else None
    info = section.model_fields.get(str(path[-1])) if section else None
    return info is not None and any(isinstance(mark, Secret) for mark in info.metadata)


def is_as_written(path: Sequence[str | int]) -> bool:
    """Tell whether an unquoted ``1`` or ``true`` at ``path`` is meant as text: model ids, environment values."""
    return pattern(path) in _AS_WRITTEN


def reference() -> Iterator[Key]:
    """Yield every key of the file in its order, sections before what they hold."""
    yield from _keys((), Config)


def _keys(path: tuple[str, ...], section: type[Section]) -> Iterator[Key]:
    for name, info in section.model_fields.items():
        yield _key(path, section, name, info)
        for inner in ((*path, name), (*path, name, "*")):
            if inner in SECTIONS:
                yield from _keys(inner, SECTIONS[inner])


def _key(path: tuple[str, ...], section: type[Section], name: str, info: FieldInfo) -> Key:
    shown = ".".join((*path, name)).replace(".*", "[]")
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    return Key(shown, section.__name__, name, default, info.is_required(), meanings(section).get(name, ""))
