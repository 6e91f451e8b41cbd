"""A page that is drawn again and again on a terminal, until q or Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

PERIOD_S = 1.0


def live(render: Callable[[int], RenderableType]) -> None:
    """Draw ``render(lines)`` every second. Without a terminal the pages follow one another."""
    from mux_cli.console import console

    screen = console()
    if not sys.stdout.isatty():
        repeat(lambda: screen.print(render(10_000)))
        return
    from rich.live import Live

    first = render(screen.height)  # a project that is not running must say so on the ordinary screen
    page = Live(first, console=screen, screen=True, auto_refresh=False)
    with _keys(), contextlib.suppress(KeyboardInterrupt):
        try:  # not `with page`: Ctrl-C while it begins must leave the alternate screen too
            page.start(refresh=True)
            while not _left():
                page.update(render(screen.height), refresh=True)
        finally:
            page.stop()


def repeat(step: Callable[[], None]) -> None:
    """Call ``step`` every second until Ctrl-C, which is the way to end it, or q on a terminal."""
    with _keys(), contextlib.suppress(KeyboardInterrupt):
        step()
        sys.stdout.flush()
        while not _left():
            step()
            sys.stdout.flush()


def _left() -> bool:
    """Wait one period; return early, and whether, the person pressed q."""
    if not sys.stdin.isatty():
        select.select([], [], [], PERIOD_S)
        return False
    ready, _, _ = select.select([sys.stdin], [], [], PERIOD_S)
    return bool(ready) and os.read(sys.stdin.fileno(), 1).lower() in (b"q", b"")


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Let single keys through at once, without an echo, and put the terminal back as it was."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
