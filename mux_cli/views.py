"""From the control API's shapes to what is shown. Pure: no process, no clock, no stream. Rich is imported inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mux_cli.quantities import duration, size

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from runtime.supervisor.api import DeploymentStatus, ModelInfo, ProjectStatus, ReplicaStatus, RouterStatus

_STYLES = {
    "ready": "green",
    "resident": "green",
    "starting": "yellow",
    "loading": "yellow",
    "fetching": "yellow",
    "waiting": "yellow",
    "draining": "yellow",
    "unloading": "yellow",
    "suspect": "yellow",
    "degraded": "yellow",
    "backoff": "red",
    "failed": "red",
    "abandoned": "red",
    "stopped": "dim",
}
_SHOWN_MODELS = 6
_LONGEST_ID = 20  # of a model, in a list of several
_LONGEST_LIST = 40


def state(word: str) -> Text:
    """Return a state in its colour."""
    from rich.text import Text

    return Text(word, style=_STYLES.get(word, ""))


_EMPTY = frozenset({"", "-", "0"})
_WORDS = frozenset({"DEPLOYMENT", "REPLICA", "ROUTER", "MODEL", "STATE", "ROUTE", "MODELS", "NOTE"})  # left-aligned


def _table(rows: Sequence[dict[str, object]], *, optional: frozenset[str] = frozenset()) -> Table:
    """Return a table of rows by column name. A column in ``optional`` is left out where it has nothing to say.

    Strings become plain text, so that nobody's name counts as markup. The last column and MODELS may wrap, and MODEL
    is cut before any other.
    """
    from rich.table import Table
    from rich.text import Text

    names = [name for name in rows[0] if name not in optional or any(str(row[name]) not in _EMPTY for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in names:
        heading = "" if name == "NOTE" else name.replace("_", " ")
        wraps = name in ("MODELS", "NOTE")
        justify: Literal["left", "right"] = "left" if name in _WORDS else "right"
        shrinks = wraps or name == "MODEL"
        table.add_column(heading, justify=justify, no_wrap=not shrinks, overflow="fold" if wraps else "ellipsis")
    for row in rows:
        cells = ((name, row[name]) for name in names)
        table.add_row(
            *(
                cell if isinstance(cell, Text) else Text(str(cell), no_wrap=name == "MODEL" or None)
                for name, cell in cells
            )
        )
    return table


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def project_line(status: ProjectStatus) -> Text:
    """Return the line above everything: name, state, address, generation, age."""
    from rich.text import Text

    line = Text.assemble((status.name, "bold"), "  ")
    line.append_text(state(status.state))
    line.append(f"  {status.url}  generation {status.generation}  up {duration(status.uptime_s)}  {status.config_path}")
    return line


def deployments_table(deployments: Sequence[DeploymentStatus]) -> Table:
    """Return one row a deployment; a count set by hand is marked."""
    rows: list[dict[str, object]] = [
        {
            "DEPLOYMENT": one.name,
            "STATE": state(one.state),
            "READY": f"{one.ready}/{one.want}",
            "ROUTE": one.route_prefix or "-",
            "QUEUED": one.queued,
            "NOTE": _joined("scaled by hand" if one.scaled else "", one.message),
        }
        for one in deployments
    ]
    return _table(rows, optional=frozenset({"NOTE"}))


def replicas_table(replicas: Sequence[ReplicaStatus]) -> Table:
    """Return one row a replica, with the models it holds."""
    rows: list[dict[str, object]] = [
        {
            "REPLICA": one.id,
            "STATE": state(one.state),
            "PID": one.pid or "-",
            "UP": duration(one.uptime_s),
            "MEMORY": size(one.rss_bytes),
            "IN_FLIGHT": one.in_flight,
            "QUEUED": one.queued,
            "RESTARTS": one.restarts,
            "MODELS": _held(one),
            "NOTE": one.message,
        }
        for one in replicas
    ]
    return _table(rows, optional=frozenset({"QUEUED", "RESTARTS", "NOTE"}))


def _held(one: ReplicaStatus) -> str:
    slots = f"{len(one.models)}/{one.slots}" if one.slots > 0 else str(len(one.models))
    if not one.models:
        return slots if one.slots > 0 else "-"
    shown: list[str] = []
    for model in one.models[:_SHOWN_MODELS]:
        short = model if len(model) <= _LONGEST_ID else f"{model[: _LONGEST_ID - 8]}…{model[-7:]}"
        if shown and len(", ".join([*shown, short])) > _LONGEST_LIST:
            break
        shown.append(short)
    more = len(one.models) - len(shown)
    return f"{slots}: {', '.join(shown)}" + (f" and {more} more" if more > 0 else "")


def routers_table(routers: Sequence[RouterStatus]) -> Table:
    """Return one row a router."""
    rows: list[dict[str, object]] = [
        {
            "ROUTER": one.id,
            "STATE": state(one.state),
            "PID": one.pid or "-",
            "UP": duration(one.uptime_s),
            "MEMORY": size(one.rss_bytes),
            "REQUESTS": one.requests,
            "RESTARTS": one.restarts,
            "NOTE": one.message,
        }
        for one in routers
    ]
    return _table(rows, optional=frozenset({"RESTARTS", "NOTE"}))


def status_view(status: ProjectStatus) -> RenderableType:
    """Return the whole of ``mux status``; the traceback of what could not start stands at the end."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [project_line(status)]
    if status.deployments:
        parts += [Text(), deployments_table(status.deployments)]
    if status.replicas:
        parts += [Text(), replicas_table(status.replicas)]
    if status.routers:
        parts += [Text(), routers_table(status.routers)]
    for one in status.deployments:
        if one.traceback:
            parts += [Text(), Text(f"{one.name} could not start:", style="bold"), Text(one.traceback.rstrip())]
    return Group(*parts)


def models_table(models: Sequence[ModelInfo]) -> RenderableType:
    """Return one row for each model on each replica; one that waits for a replica shows its deployment there."""
    from rich.text import Text

    if not models:
        return Text("No model is in memory, and none is waited for.")
    rows: list[dict[str, object]] = [
        {
            "MODEL": one.model,
            "REPLICA": one.replica or one.deployment,
            "STATE": state(one.state),
            "LEASES": one.leases,
            "WAITING": one.waiting,
            "USES": one.uses,
            "LOAD": duration(one.load_s) if one.load_s else "-",
            "SIZE": size(one.size_bytes),
            "IDLE": duration(one.idle_s),
            "NOTE": _joined("pinned" if one.pinned else "", one.error),
        }
        for one in models
    ]
    return _table(rows, optional=frozenset({"WAITING", "USES", "SIZE", "IDLE", "NOTE"}))


def top_view(status: ProjectStatus, models: Sequence[ModelInfo], rate: float | None, rows: int) -> RenderableType:
    """Return the live page: the busiest models first, cut to ``rows`` lines of models. ``rate``: requests a second."""
    from rich.console import Group
    from rich.text import Text

    running, queued = sum(r.in_flight for r in status.replicas), sum(d.queued for d in status.deployments)
    speed = "-" if rate is None else f"{rate:.0f}/s"
    sums = Text(f"requests {speed}  in flight {running}  queued {queued}  models {len(models)}")
    busiest = sorted(models, key=lambda m: (-(m.leases + m.waiting), m.idle_s is None, m.idle_s or 0.0, m.model))
    parts: list[RenderableType] = [project_line(status), sums, Text()]
    if status.replicas:
        parts += [replicas_table(status.replicas), Text()]
    parts.append(models_table(busiest[:rows]))
    if len(busiest) > rows:
        parts.append(Text(f"and {len(busiest) - rows} more: 'mux models' lists all", style="dim"))
    return Group(*parts)


def changes_text(changes: Sequence[dict[str, str]]) -> str:
    """Return the plan of a deploy, one line a change: ``~ Model: max_ongoing_requests 5 → 8``."""
    return "\n".join(
        f"{change['sign']} {change['what']}" + (f": {change['why']}" if change.get("why") else "") for change in changes
    )


def checks_text(checks: Sequence[Any], colour: bool) -> str:
    """Return the findings of ``mux doctor`` (``mux_cli.checks.Check``), one line each, hints below."""
    marks = {"ok": ("ok", "32"), "warn": ("warn", "33"), "fail": ("FAIL", "31")}
    lines = []
    for check in checks:
        word, code = marks[check.verdict]
        mark = f"\x1b[{code}m{word:<4}\x1b[0m" if colour else f"{word:<4}"
        lines.append(f"{mark}  {check.name}: {check.finding}")
        if check.hint:
            lines.append(f"      {check.hint}")
    return "\n".join(lines)
