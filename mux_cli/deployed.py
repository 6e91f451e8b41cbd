"""What was deployed last, read from the project's folder without asking a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from runtime.project import Project


class DeployedModelId(msgspec.Struct, frozen=True):
    header: str = "serve_multiplexed_model_id"


class DeployedDeployment(msgspec.Struct, frozen=True):
    name: str
    route_prefix: str | None = "/"
    loader: str | None = None
    preload: list[str] = []
    pin: list[str] = []


class DeployedConfig(msgspec.Struct, frozen=True):
    """The keys of a deployed configuration that the command line looks at."""

    deployments: list[DeployedDeployment] = []
    model_id: DeployedModelId = DeployedModelId()


class _Record(msgspec.Struct, frozen=True):
    config: DeployedConfig


def deployed_config(project: Project) -> DeployedConfig:
    """Return what the project was deployed with last; an empty one if nothing readable is there."""
    try:
        return msgspec.json.decode(project.desired_file.read_bytes(), type=_Record).config
    except (OSError, msgspec.DecodeError):
        return DeployedConfig()
