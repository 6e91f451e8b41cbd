"""``${VAR}``, ``${VAR:-default}``, ``${VAR:?message}`` and ``$$`` in a text, as in a shell or a Compose file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Fault:
    """An expression that cannot be replaced. ``expression`` is its text, to be found in the file."""

    expression: str
    message: str
    hint: str = ""


def interpolate(text: str, env: Mapping[str, str]) -> tuple[str, list[Fault]]:
    """Return ``text`` with every expression replaced, and what could not be.

    ``:-`` and ``:?`` also apply to an empty variable; a default may hold expressions itself. ``$$`` is a dollar
    sign, and a ``$`` before anything but a name, ``{`` or ``$`` stays (regular expressions end with one).
    """
    parts: list[str] = []
    faults: list[Fault] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        following = text[dollar + 1 : dollar + 2]
        at = dollar + 2
        if following == "$":
            parts.append("$")
        elif following == "{":
            end = _closing(text, at)
            if end < 0:
                faults.append(Fault(text[dollar:], f"{text[dollar:]!r} has no closing brace", "write ${VAR}"))
                return "".join(parts), faults
            parts.append(_replace(text[at:end], env, faults))
            at = end + 1
        elif name := _NAME.match(text, dollar + 1):
            shown = name.group()
            hint = f"write ${{{shown}}}, or $${shown} for the text itself"
            faults.append(Fault(f"${shown}", f"'${shown}' is not replaced", hint))
            at = name.end()
        else:
            parts.append("$")
            at = dollar + 1
    parts.append(text[at:])
    return "".join(parts), faults


def _closing(text: str, start: int) -> int:
    """Return where the brace that opened before ``start`` closes, -1 if nowhere."""
    depth = 1
    for index in range(start, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return -1


def _replace(inside: str, env: Mapping[str, str], faults: list[Fault]) -> str:
    expression = f"${{{inside}}}"
    name = _NAME.match(inside)
    operator, rest = (inside[name.end() : name.end() + 2], inside[name.end() + 2 :]) if name else ("", "")
    if name is None or operator not in ("", ":-", ":?"):
        hint = "write ${VAR}, ${VAR:-default} or ${VAR:?message}"
        faults.append(Fault(expression, f"{expression!r} is not an expression", hint))
        return ""
    value = env.get(name.group())
    if value or (value is not None and not operator):
        return value
    if operator == ":-":
        default, inner = interpolate(rest, env)
        faults.extend(inner)
        return default
    state = "is not set" if value is None else "is empty"
    variable = f"environment variable {name.group()!r} {state}"
    if operator == ":?":
        faults.append(Fault(expression, f"{variable}: {rest.strip()}" if rest.strip() else variable))
    else:
        faults.append(Fault(expression, variable, f"set it, or write ${{{name.group()}:-default}}"))
    return ""
