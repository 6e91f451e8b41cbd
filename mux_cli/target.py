"""Where ``mux request`` sends to, and how it names the model there."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MODEL_HEADER = "serve_multiplexed_model_id"


@dataclass(frozen=True, slots=True)
class Target:
    """A base address and the header that names the model."""

    url: str
    model_header: str = DEFAULT_MODEL_HEADER


def find_target(given: str | None) -> Target:
    """Return the address of a running project. Raises ``NotRunning``."""
    from mux_cli.deployed import deployed_config
    from mux_cli.projects import resolve
    from runtime.supervisor.client import ControlClient

    project = resolve(given)
    url = ControlClient(project).status().url
    return Target(url, deployed_config(project).model_id.header)
