"""The JSON Schema of the file, for editors: every key, its kind, its default and what it means."""

from __future__ import annotations

import json
from typing import Any

from runtime.config.keys import SECTIONS
from runtime.config.meanings import meanings
from runtime.config.models import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"\$\{"}
_NOT_TEXT = ("integer", "number", "boolean")


def json_schema() -> dict[str, Any]:
    """Return the schema. Where a number or true/false is wanted, a text with ``${...}`` is allowed too."""
    schema = Config.model_json_schema()
    for section in set(SECTIONS.values()):
        part = schema if section is Config else schema["$defs"][section.__name__]
        for key, meaning in meanings(section).items():
            part["properties"][key] = {"description": meaning, **part["properties"][key]}
    definitions = {name: _open(part) for name, part in schema.pop("$defs").items()}
    deployment = definitions["Deployment"]["properties"]
    for key in ("preload", "pin"):
        deployment[key]["items"] = {"type": ["string", "number"]}
    deployment["env"]["additionalProperties"] = {"type": ["string", "number", "boolean"]}
    body = _open(schema)
    body["patternProperties"] = {"^x-": {"description": "Left out; a place for YAML anchors."}}
    return {"$schema": DIALECT, "title": "mux.yaml", **_without(body, "title"), "$defs": definitions}


def schema_text() -> str:
    """Return the schema as JSON, indented, with a line break at its end."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _without(part: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != key}


def _open(part: Any) -> Any:
    """Return a part of the schema without generated titles, its descriptions on one line, ``${...}`` allowed."""
    if isinstance(part, list):
        return [_open(inner) for inner in part]
    if not isinstance(part, dict):
        return part
    result = {name: _open(value) for name, value in part.items() if not (name == "title" and isinstance(value, str))}
    if isinstance(result.get("description"), str):
        result["description"] = " ".join(result["description"].split())
    if "anyOf" in result:
        result["anyOf"] = _flat(result["anyOf"])
    if result.get("type") in _NOT_TEXT:
        outer = {name: result.pop(name) for name in ("description", "default") if name in result}
        return {"anyOf": [result, dict(_REFERENCE)], **outer}
    return result


def _flat(choices: list[Any]) -> list[Any]:
    """Return choices of choices as one list, each once."""
    flat: list[Any] = []
    for choice in choices:
        inner = choice["anyOf"] if isinstance(choice, dict) and set(choice) == {"anyOf"} else [choice]
        flat += [one for one in inner if one not in flat]
    return flat


if __name__ == "__main__":
    print(schema_text(), end="")
