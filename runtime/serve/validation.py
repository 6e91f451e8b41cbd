"""What code says of the configuration, checked as the file would be: errors name the option, not pydantic's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from runtime.config.fields import Section

    S = TypeVar("S", bound=Section)


def validated(section: type[S], data: Mapping[str, Any]) -> S:
    """Return ``data`` as a section of the configuration. Raises ``ValueError`` that names everything wrong in it."""
    from pydantic import ValidationError

    try:
        return section.model_validate(dict(data))
    except ValidationError as exc:
        raise ValueError("; ".join(_problem(error, section, data) for error in exc.errors())) from None


def _problem(error: ErrorDetails, section: type[Section], data: Mapping[str, Any]) -> str:
    from runtime.config.suggest import did_you_mean

    path = error["loc"]
    if not path:  # of the section as a whole
        return error["msg"]
    if path[0] == "deployments" and len(path) > 1:
        path = (data["deployments"][path[1]]["name"], *path[2:])
    elif error["type"] == "extra_forbidden":
        name, known = str(path[0]), section.model_fields
        return f"unknown key {name!r}; " + (did_you_mean(name, known) or f"known here: {', '.join(known)}")
    return f"{'.'.join(map(str, path))}: {error['msg']}"
