"""The kinds of value that a key can have, each with its check and its JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from runtime.config.units import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size


class Section(BaseModel):
    """The base of every part of the configuration: frozen, strict, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


@dataclass(frozen=True, slots=True)
class Secret:
    """Marks a value that is never shown: not in output, error listings or differences."""


def fail(kind: str, sentence: str) -> PydanticCustomError:
    """Return a validation error whose message is ``sentence`` as it is (braces are not placeholders)."""
    return PydanticCustomError(kind, "{sentence}", {"sentence": sentence})


def _size(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except ValueError as exc:
        raise fail("size", str(exc)) from exc


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except ValueError as exc:
        raise fail("duration", str(exc)) from exc


def _spelled(number: str, pattern: str, **limits: float) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [{"type": number, **limits}, {"type": "string", "pattern": pattern}]})


Size = Annotated[int, Field(gt=0), BeforeValidator(_size), _spelled("integer", SIZE_PATTERN, exclusiveMinimum=0)]
"""Bytes: a whole number, or text such as ``64MiB``."""

Seconds = Annotated[float, Field(ge=0), BeforeValidator(_duration), _spelled("number", DURATION_PATTERN, minimum=0)]
"""Seconds, zero allowed: a number, or text such as ``30s``."""

PositiveSeconds = Annotated[
    float, Field(gt=0), BeforeValidator(_duration), _spelled("number", DURATION_PATTERN, exclusiveMinimum=0)
]
"""Seconds, more than zero: a number, or text such as ``30s``."""

Count = Annotated[int, Field(ge=1)]
"""A whole number, at least 1."""

Text = Annotated[str, StringConstraints(min_length=1)]
"""Text that is not empty."""

NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,62})$"


def _name(value: str) -> str:
    if re.fullmatch(NAME_PATTERN, value) is None:
        raise fail(
            "name",
            f"{value!r} is not a name; use 1 to 63 letters, digits, '_', '.' and '-', a letter or digit first",
        )
    return value


Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": NAME_PATTERN})]
"""What a project, deployment or application is called."""

IMPORT_PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


def _import_path(value: str) -> str:
    if re.fullmatch(IMPORT_PATTERN, value) is not None and ".py:" not in value:
        return value
    module, _, attribute = value.partition(":")
    meant = module.removesuffix(".py").replace("/", ".").strip(".")
    if not attribute and "." in meant and not module.endswith(".py"):
        meant, _, attribute = meant.rpartition(".")
    wanted = f"{meant}:{attribute or 'NAME'}"
    shown = f"; write {wanted!r}" if re.fullmatch(IMPORT_PATTERN, wanted) else ""
    raise fail("import_path", f"{value!r} is not an import path of the form 'module:name'{shown}")


ImportPath = Annotated[str, AfterValidator(_import_path), Field(json_schema_extra={"pattern": IMPORT_PATTERN})]
"""``module:name`` or ``package.module:Class.method``, looked for in the config file's folder first."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _env_name(value: str) -> str:
    if _ENV_NAME.fullmatch(value) is None:
        raise fail("env_name", f"{value!r} is not the name of an environment variable")
    return value


EnvName = Annotated[str, AfterValidator(_env_name)]
"""The name of an environment variable."""
