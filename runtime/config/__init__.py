"""The configuration: YAML text → positions → frozen models → the difference between two of them.

Names are resolved on first use, so that a process that only needs the models never imports the YAML reader.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.config.code import code_digests
    from runtime.config.diff import Change
    from runtime.config.load import Loaded, load_config
    from runtime.config.models import S3, Cache, Config, Deployment, Http, ModelIdConfig
    from runtime.config.problems import ConfigNotFound, ConfigProblems, Problem
    from runtime.config.redact import redacted
    from runtime.config.schema import json_schema, schema_text

__all__ = [
    "S3",
    "Cache",
    "Change",
    "Config",
    "ConfigNotFound",
    "ConfigProblems",
    "Deployment",
    "Http",
    "Loaded",
    "ModelIdConfig",
    "Problem",
    "code_digests",
    "json_schema",
    "load_config",
    "redacted",
    "schema_text",
]

_HOMES = {
    "S3": "models",
    "Cache": "models",
    "Change": "diff",
    "Config": "models",
    "ConfigNotFound": "problems",
    "ConfigProblems": "problems",
    "Deployment": "models",
    "Http": "models",
    "Loaded": "load",
    "ModelIdConfig": "models",
    "Problem": "problems",
    "code_digests": "code",
    "json_schema": "schema",
    "load_config": "load",
    "redacted": "redact",
    "schema_text": "schema",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
