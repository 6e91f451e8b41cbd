"""``mux init``: write a mux.yaml and an app.py that work."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mux_cli.console import say
from mux_cli.options import command, examples

app = command()


class Template(StrEnum):
    """What ``mux init`` can begin with."""

    HELLO = "hello"
    TORCH = "torch"
    S3 = "s3"


FILES = ("mux.yaml", "app.py")
_NEXT = {
    Template.HELLO: (),
    Template.TORCH: ("python app.py      # writes six small models to ./models",),
    Template.S3: ("edit mux.yaml      # name your bucket",),
}


@app.command(epilog=examples("mux init", "mux init shop --template torch"))
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; made if missing.")] = Path(),
    template: Annotated[
        Template,
        typer.Option("--template", "-t", help="hello needs nothing; torch loads files; s3 loads from a bucket."),
    ] = Template.HELLO,
) -> None:
    """Write a mux.yaml and an app.py that work, to begin from. Nothing is ever overwritten."""
    from importlib.resources import files

    from mux_cli.exits import UsageProblem

    if folder.exists() and not folder.is_dir():
        raise UsageProblem(f"{folder} is a file.", hint="Name a folder: mux init DIR")
    present = [str(folder / name) for name in FILES if (folder / name).exists()]
    if present:
        raise UsageProblem(f"{' and '.join(present)} would be overwritten.", hint="Name another folder: mux init DIR")
    source = files("mux_cli") / "templates" / template.value
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write((source / name).read_text(encoding="utf-8"))
            say(f"wrote {folder / name}")
    except OSError as exc:
        raise UsageProblem(f"{exc.filename or folder} cannot be written: {exc.strerror}.") from exc
    steps = [*([] if folder == Path() else [f"cd {folder}"]), *_NEXT[template], "mux deploy"]
    say("Next:")
    for step in (*steps, """mux request --model-id 3 -d '{"inputs": [[1, 2, 3]]}'"""):
        say(f"  {step}")
