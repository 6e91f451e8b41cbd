"""Where words go: data to stdout, talk to stderr, colour only on a terminal that wants it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str = "") -> None:
    """Write one line of talk to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def put(text: str = "") -> None:
    """Write one line of data to stdout."""
    sys.stdout.write(f"{text}\n")


def put_json(value: Any) -> None:
    """Write ``value`` (msgspec structs, dataclass-free containers and scalars) as one JSON document to stdout."""
    import msgspec

    put(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def put_json_line(value: Any) -> None:
    """Write ``value`` as one line of JSON to stdout, at once."""
    import msgspec

    put(msgspec.json.encode(value).decode())
    sys.stdout.flush()


def wants_colour(stream: IO[str], env: Mapping[str, str] = os.environ) -> bool:
    """Return whether colours may be written to ``stream`` (https://no-color.org; FORCE_COLOR beats a pipe)."""
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR"):
        return True
    return stream.isatty() and env.get("TERM", "") != "dumb"


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a rich console on the stream of this moment. User text never counts as markup on it.

    A pipe has no width, so that nothing is cut off there: 200 columns unless COLUMNS says otherwise.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    colour = wants_colour(stream)
    if width is None and not stream.isatty() and not os.environ.get("COLUMNS"):
        width = 200
    return Console(
        file=stream,
        width=width,
        markup=False,
        highlight=False,
        emoji=False,
        no_color=not colour,
        force_terminal=True if colour else None,
    )
