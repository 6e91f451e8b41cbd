"""``mux top``: watch replicas and models live."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from mux_cli.options import JsonOption, ProjectOption, command, examples

if TYPE_CHECKING:
    from rich.console import RenderableType

    from runtime.project import Project
    from runtime.supervisor.api import ModelInfo, ProjectStatus

app = command()

_FRAME_LINES = 10  # what stands above the models, less one line a replica


@app.command(epilog=examples("mux top", "mux top --once"))
def top(
    once: Annotated[bool, typer.Option("--once", help="Show one page and end; for scripts.")] = False,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Watch replicas and models live, the busiest first. Leave with q or Ctrl-C.

    --json prints the status and the models once.
    """
    from mux_cli.console import console, put_json
    from mux_cli.live import live
    from mux_cli.projects import resolve

    page = Page(resolve(project))
    if as_json:
        status, models = page.read()
        put_json({"status": status, "models": models})
    elif once:
        console().print(page.render(10_000))
    else:
        live(page.render)


class Page:
    """Reads and draws; remembers the last count of requests, to tell the rate."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._last: tuple[float, int] | None = None

    def read(self) -> tuple[ProjectStatus, list[ModelInfo]]:
        from runtime.supervisor.client import ControlClient

        client = ControlClient(self._project)
        return client.status(), client.models().models

    def render(self, lines: int) -> RenderableType:
        """Return the page, cut to a terminal of ``lines`` lines."""
        from mux_cli.views import top_view

        status, models = self.read()
        rate = self._rate(time.monotonic(), sum(router.requests for router in status.routers))
        rows = max(3, lines - _FRAME_LINES - len(status.replicas))
        return top_view(status, models, rate, rows)

    def _rate(self, now: float, requests: int) -> float | None:
        last, self._last = self._last, (now, requests)
        if last is None or now <= last[0] or requests < last[1]:  # fewer than before: a router started again
            return None
        return (requests - last[1]) / (now - last[0])
