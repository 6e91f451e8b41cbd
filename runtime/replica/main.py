"""The entry of a replica process: reads its spec, opens its channel and its log, runs the loop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from runtime.link.channel import ControlChannel, watch_parent
from runtime.link.control import ChildSpec
from runtime.observe.capture import capture_user_output
from runtime.observe.events import PROCESS_FAILED
from runtime.observe.logs import Identity, LogWriter
from runtime.replica.importer import describe, user_traceback
from runtime.replica.process import ReplicaProcess
from runtime.serve.context import request_context


def main(argv: Sequence[str] | None = None) -> int:
    """Run the replica of ``--spec``; return its exit code: 0 after a drain, 3 if it could not start."""
    parser = argparse.ArgumentParser(prog="runtime.replica", description="One replica of a mux project.")
    parser.add_argument("--spec", required=True, type=Path, help="the JSON file that the supervisor wrote")
    spec = msgspec.json.decode(parser.parse_args(argv).spec.read_bytes(), type=ChildSpec)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the supervisor decides
    watch_parent(spec.liveness_fd)
    try:
        return uvloop.run(_run(spec))
    except (SystemExit, KeyboardInterrupt) as exc:  # let out by a task of user code
        writer = _writer(spec)
        text = f"A task of the deployment's code has ended the process.\n{user_traceback(exc)}"
        writer.event(text.rstrip(), level="ERROR", event=PROCESS_FAILED)
        writer.close()
        raise


def _writer(spec: ChildSpec) -> LogWriter:
    deployment = str(spec.deployment.get("name", ""))
    return LogWriter(
        Path(spec.log_dir), Identity(spec.name, spec.application, deployment, spec.name.rpartition("#")[2])
    )


async def _run(spec: ChildSpec) -> int:
    loop = asyncio.get_running_loop()
    channel = await ControlChannel.open(spec.control_fd)
    writer = _writer(spec)
    undo = capture_user_output(writer, where)

    def unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        detail = f": {describe(exc)}" if exc is not None else ""
        writer.event(f"{context.get('message', 'something broke')}{detail}", level="ERROR", event=PROCESS_FAILED)

    loop.set_exception_handler(unexpected)
    try:
        return await ReplicaProcess(spec, channel, writer).run()
    finally:
        undo()
        writer.close()
        await channel.close()
        sys.stdout.flush()


def where() -> tuple[str, str, str]:
    """Return (request id, route, model) of the user code that is running, for its prints and logs."""
    request = request_context.get()
    return (request.request_id, request.route, request.model_id) if request is not None else ("", "", "")
