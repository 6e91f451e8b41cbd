"""What is shown while something goes on: a live page on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from mux_cli.console import console, put_json_line, say
from mux_cli.views import changes_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from runtime.supervisor.api import Event


class Display(Protocol):
    """Shows events as they come; a context manager, so that a live page is always taken down."""

    def show(self, event: Event) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(as_json: bool) -> Display:
    """Return the display that fits: JSON lines on stdout if asked for, else talk on stderr."""
    if as_json:
        return JsonLines()
    if sys.stderr.isatty():
        return LivePage()
    return Lines()


def follow(events: Iterable[Event], shown: Display) -> Event:
    """Show ``events`` to the last and return it; raises the error that a ``failed`` event stands for."""
    from runtime.errors import NotRunning
    from runtime.supervisor.failures import from_event

    with shown:
        for event in events:
            shown.show(event)
            if event.kind == "failed":
                raise from_event(event)
            if event.kind == "done":
                return event
    raise NotRunning("The supervisor went away before it was done.", hint="See 'mux logs supervisor'.")


def what(event: Event) -> str:
    """Return what happens, without the name of the process that it happens to."""
    words = event.message.removeprefix(event.process or event.deployment).lstrip(" :")
    return words or _WORDS.get(event.kind, event.kind)


def sentence(event: Event) -> str:
    """Return what a line says about ``event``; empty for what the caller tells itself, at the end."""
    if event.kind == "plan":
        return changes_text(event.changes) if event.changes else event.message
    if event.kind in ("done", "failed"):
        return ""
    who = event.process or event.deployment
    text = event.message
    if not text or not text.startswith(who):
        text = f"{who}: {what(event)}" if who else what(event)
    if event.fraction is not None:
        text += f" ({event.fraction:.0%})"
    return f"warning: {text}" if event.kind == "warn" else text


_WORDS = {"start": "starting", "ready": "ready", "stop": "stopping", "stopped": "stopped", "restart": "restarting"}


class _Shown:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Silence(_Shown):
    """Shows nothing and keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def show(self, event: Event) -> None:
        self.events.append(event)


class JsonLines(_Shown):
    """One JSON object a line on stdout; the last has kind ``done`` or ``failed``."""

    def show(self, event: Event) -> None:
        put_json_line(event)


class Lines(_Shown):
    """One line of talk for each step. Of a download's many fractions only whole tenths are told."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, int]] = {}

    def show(self, event: Event) -> None:
        text = sentence(event)
        if not text:
            return
        if event.kind == "progress":
            step = (event.message, -1 if event.fraction is None else int(event.fraction * 10))
            if self._told.get(event.process) == step:
                return
            self._told[event.process] = step
        say(text)


class LivePage:
    """One live line a process, with a bar where the fraction is known; what is over scrolls away above it."""

    def __init__(self, **settings: Any) -> None:
        """``settings`` go to rich's ``Progress`` (tests give a console of their own)."""
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._page: Progress = Progress(
            SpinnerColumn(finished_text="·"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            transient=True,
            **({"console": console(stderr=True)} | settings),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._page.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._page.stop()

    def show(self, event: Event) -> None:
        who = event.process or event.deployment
        if event.kind in ("start", "progress", "restart", "stop") and who:
            self._update(who, event)
            return
        if event.kind in ("ready", "stopped") and who in self._tasks:
            self._page.remove_task(self._tasks.pop(who))
        text = sentence(event)
        if text:
            self._page.console.print(text)

    def _update(self, who: str, event: Event) -> None:
        words = what(event)
        if who not in self._tasks:
            self._tasks[who] = self._page.add_task(who, total=None, words=words)
        task = self._tasks[who]
        if event.fraction is None:
            self._page.update(task, total=None, words=words)
        else:
            self._page.update(task, total=1.0, completed=event.fraction, words=words)
