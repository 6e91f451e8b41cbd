"""Which mux this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """Return the installed version; ``unknown`` where mux runs from a source tree that is not installed."""
    try:
        return installed_version("mux")
    except PackageNotFoundError:
        return "unknown (not installed)"
