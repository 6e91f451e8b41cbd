"""``mux request``: send a request; the body goes to stdout, who served it and how to stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mux_cli.console import put, put_json, say
from mux_cli.exits import ExitCode, RequestFailed
from mux_cli.options import JsonOption, ProjectOption, command, examples

if TYPE_CHECKING:
    from mux_cli.exchange import Exchange, Outgoing

app = command()


@app.command(
    epilog=examples(
        """mux request --model-id 3 -d '{"inputs": [[1, 2, 3]]}'""",
        "mux request /predict --model-id 3 -d @input.json",
        "echo '[1, 2]' | mux request --model-id 3 -d @-",
        "mux request --model-id 3 -n 100",
        "mux request /-/models",
    )
)
def request(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path and query.")] = "/",
    model_id: Annotated[str | None, typer.Option("--model-id", "-m", metavar="ID", help="The model to ask.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="JSON|@FILE|@-", help="Body; makes the request a POST.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--request", "-X", metavar="METHOD", help="Default: GET, or POST with -d.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="May be given again.")
    ] = None,
    include: Annotated[bool, typer.Option("--include", "-i", help="Print the status and headers too.")] = False,
    count: Annotated[
        int, typer.Option("-n", min=1, metavar="N", help="Send it N times, one after the other, and sum up.")
    ] = 1,
    as_json: JsonOption = False,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout", min=0.001, metavar="SECONDS", help="Give up after that long; the server does too."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Ask this address instead of the project's.")
    ] = None,
    project: ProjectOption = None,
) -> None:
    """Send a request and see who served it, and how.

    The body goes to stdout, "served by Model#EjYmnQ · hit · 2.3 ms" to stderr. An answer outside 2xx exits with 9.
    """
    from mux_cli.exchange import Exchange
    from mux_cli.outgoing import compose
    from mux_cli.target import Target, find_target

    target = Target(url) if url else find_target(project)
    outgoing = compose(
        path, model_id=model_id, data=data, method=method, headers=header or [], timeout_s=timeout_s, target=target
    )
    exchange = Exchange(target.url)
    try:
        if count > 1:
            _repeat(exchange, outgoing, count, as_json)
        elif as_json:
            _once_as_json(exchange, outgoing)
        else:
            _once(exchange, outgoing, include)
    finally:
        exchange.close()


def _once(exchange: Exchange, outgoing: Outgoing, include: bool) -> None:
    from mux_cli.reply import BodyPrinter, failure, served_by

    printer = BodyPrinter(include)
    answer = exchange.send(outgoing, printer.head, printer.body)
    error = None if answer.ok else failure(answer, printer.held())
    printer.finish(keep_held=error is None or not error.ours or include)
    say(served_by(answer))
    if error is not None:
        raise error.error


def _once_as_json(exchange: Exchange, outgoing: Outgoing) -> None:
    from mux_cli.reply import failure, to_payload

    held: list[bytes] = []
    answer = exchange.send(outgoing, lambda _: None, held.append)
    body = b"".join(held)
    put_json(to_payload(answer, body))
    if not answer.ok:
        raise failure(answer, body).error


def _repeat(exchange: Exchange, outgoing: Outgoing, count: int, as_json: bool) -> None:
    from mux_cli.reply import FailedBody, failure
    from mux_cli.tally import Tally

    tally = Tally()
    interrupted = False
    said = ""  # by the last answer that failed
    try:
        for _ in range(count):
            body = FailedBody()
            answer = exchange.send(outgoing, body.head, body.body)
            tally.add(answer)
            if not answer.ok:
                said = failure(answer, body.held()).error.message
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        put_json(tally.to_payload())
    else:
        put(tally.to_text())
    if interrupted:
        say("Interrupted; the sums are of the requests until then.")
        raise typer.Exit(ExitCode.INTERRUPTED)
    if tally.failed:
        raise RequestFailed(f"{tally.failed} of {count} requests failed, the last with {said}", hint="See 'mux logs'.")
