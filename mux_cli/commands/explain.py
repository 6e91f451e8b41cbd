"""``mux explain``: tell why a request or a model went where it went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mux_cli.options import JsonOption, ProjectOption, command, examples

if TYPE_CHECKING:
    from runtime.supervisor.api import ExplainAnswer

app = command()

_WORDS: Final = {"free_slots": "free slots", "stuck": "pinned or stuck slots", "wants": "models waiting to load"}


@app.command(epilog=examples("mux explain CUpzhwUUNw", "mux explain --model 3"))
def explain(
    request_id: Annotated[
        str | None, typer.Argument(metavar="REQUEST_ID", help="As in the x-request-id header and in the logs.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="ID", help="A model instead.")] = None,
    last: Annotated[
        int, typer.Option("-n", min=-1, metavar="N", help="Only the last N decisions; -1: all that are remembered.")
    ] = 50,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Tell why a request or a model went where it went, in the words of the decisions that were taken.

    Below a decision stands what was chosen and what else could have been, each with what it was judged by.
    """
    from mux_cli.console import put, put_json, say
    from mux_cli.exits import UsageProblem
    from mux_cli.projects import resolve
    from runtime.errors import NoSuchThing
    from runtime.supervisor.client import ControlClient

    if (request_id is None) == (model is None):
        raise UsageProblem("Explain one thing.", hint="Either 'mux explain REQUEST_ID' or 'mux explain --model ID'.")
    answer = ControlClient(resolve(project)).explain(request_id=request_id or "", model=model or "")
    if as_json:
        put_json(answer)
        return
    if not answer.lines:
        what = f"request '{request_id}'" if request_id else f"model '{model}'"
        raise NoSuchThing(f"Nothing is remembered of {what}.", hint="Only recent decisions are kept; see 'mux logs'.")
    told = _told(answer)
    shown = told if last < 0 else told[max(0, len(told) - last) :]
    for line in shown:
        put(line)
    if len(shown) < len(told):
        say(f"{len(told) - len(shown)} earlier ones are left out; -n -1 shows all.")


def _told(answer: ExplainAnswer) -> list[str]:
    """Return each decision, with its candidates below it where they were recorded."""
    if len(answer.lines) != len(answer.records):
        return answer.lines
    return [
        "\n".join([line, *_candidates(record.get("candidates") or [])])
        for line, record in zip(answer.lines, answer.records, strict=True)
    ]


def _candidates(candidates: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the candidates as lines: the chosen one comes first in a record."""
    return [f"    {'over ' if number else 'chose'} {_judged(one)}" for number, one in enumerate(candidates)]


def _judged(candidate: Mapping[str, Any]) -> str:
    from mux_cli.quantities import duration, size

    scores: list[str] = []
    for key, value in candidate.items():
        if key == "name":
            continue
        name, _, unit = key.rpartition("_")
        if unit == "s":
            scores.append(f"{name.replace('_', ' ')} {duration(float(value))}")
        elif unit == "bytes":
            scores += [f"{name} {size(int(value))}"] if value else []
        else:
            scores.append(f"{_WORDS.get(key, key.replace('_', ' '))} {float(value):.3g}")
    return f"{candidate.get('name', '')}: {', '.join(scores)}"
