"""What the shell offers at Tab. It reads files only: no process is asked, and no failure is shown."""

from __future__ import annotations

import typer


def projects(incomplete: str) -> list[str]:
    """Return the names of known projects that begin with ``incomplete``."""
    from runtime.project import known_projects

    return sorted({project.name for project in known_projects() if project.name.startswith(incomplete)})


def deployments(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the project's deployments that begin with ``incomplete``."""
    return [name for name in _deployed(ctx.params.get("project")) if name.startswith(incomplete)]


def scales(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return ``Model=`` for every deployment, ready for a number."""
    return [f"{name}=" for name in deployments(ctx, incomplete)]


def processes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return deployments and processes that have logs and begin with ``incomplete``."""
    names = _deployed(ctx.params.get("project")) + _logged(ctx.params.get("project"))
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _deployed(given: str | None) -> list[str]:
    from mux_cli.deployed import deployed_config
    from mux_cli.projects import resolve
    from runtime.errors import MuxError

    try:
        return [deployment.name for deployment in deployed_config(resolve(given)).deployments]
    except MuxError:
        return []


def _logged(given: str | None) -> list[str]:
    from mux_cli.projects import resolve
    from runtime.errors import MuxError

    try:
        return sorted(folder.name for folder in resolve(given).logs.iterdir() if folder.is_dir())
    except (MuxError, OSError):
        return []
