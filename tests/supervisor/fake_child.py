"""A router or replica that only speaks the control channel. What it does is in its ``user_config``.

Run as a script by the real engine. Modes of a replica (``user_config["mode"]``): ready (default), fail (says that it
cannot start), crash (ends without a word), hang (never becomes ready), stubborn (ignores SIGTERM and Drain), refuse
(refuses to be reconfigured), sick (fails its health check), mute (never answers a ping), fault (was ready, cannot go
on). While the file ``user_config["broken_by"]`` exists the mode is fail; while ``user_config["muted_by"]`` exists, a
ping is answered at SIGUSR1. ``user_config["options"]`` is what its code says of the keys that the file leaves to it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from runtime.link.channel import ControlChannel, watch_parent
from runtime.link.control import (
    Answer,
    Applied,
    ChildSpec,
    Drain,
    Failed,
    FaultNotice,
    Ping,
    Pong,
    Progress,
    Query,
    Ready,
    Reconfigure,
    Table,
)


class FakeChild:
    def __init__(self, spec: ChildSpec, channel: ControlChannel) -> None:
        self.spec = spec
        self.channel = channel
        self.mode: str = spec.deployment.get("user_config", {}).get("mode", "ready")
        self.user_config: dict[str, Any] = spec.deployment.get("user_config", {})
        if Path(self.user_config.get("broken_by", "")).is_file():
            self.mode = "fail"
        self.table: Table | None = None
        self.pong = Pong(seq=0)
        self.models = list(spec.preload)
        self.pinned: set[str] = set()

    async def run(self) -> int:
        if self.mode == "crash":
            print("boom: a native library went wrong", file=sys.stderr)
            os._exit(11)
        if self.mode == "fail":
            self.channel.send(Progress(stage="import", message="Importing app", fraction=0.5))
            story = "File \"app.py\", line 3\nModuleNotFoundError: No module named 'torhc'"
            self.channel.send(Failed(stage="import", message="No module named 'torhc'", traceback=story))
            await self.channel.close()
            return 3
        if self.mode != "hang":
            if self.spec.role == "replica":
                self.channel.send(Progress(stage="preload", message="loading model '1'"))
            self.channel.send(Ready(detail={"options": self.user_config.get("options", {})}))
        if self.mode == "fault":
            self.channel.send(FaultNotice(why="every slot is abandoned"))
        servers = [await self.listen(fd) for fd in self.spec.listen_fds]
        async for message in self.channel:
            if isinstance(message, Drain) and self.mode != "stubborn":
                for server in servers:
                    server.close()
                return 0
            self.answer(message)
        return 1

    async def listen(self, fd: int) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f"{os.getpid()}\n".encode())
            writer.close()

        return await asyncio.start_server(serve, sock=socket.socket(fileno=fd))

    def answer(self, message: Any) -> None:
        send = self.channel.send
        match message:
            case Table():
                self.table = message
                send(Applied(generation=message.generation))
            case Ping():
                self.pong = Pong(seq=message.seq, healthy=self.mode != "sick", message="not well")
                if self.mode != "mute" and not Path(self.user_config.get("muted_by", "")).is_file():
                    send(self.pong)
            case Reconfigure():
                self.user_config = message.deployment["user_config"]
                refused = self.user_config.get("mode") == "refuse"
                story = {"traceback": 'File "app.py", line 9\nValueError: threshold'} if refused else None
                send(Answer(id=message.id, ok=not refused, message="threshold must be positive", data=story))
            case Query():
                send(self.told(message))

    def told(self, query: Query) -> Answer:
        router = self.spec.role == "router"
        match query.what:
            case "status" if router:
                data: Any = {"requests": 7, "queued": {"Model": 2}}
            case "status":
                data = {"in_flight": 1, "queued": 0, "slots": 3, "models": self.models}
            case "models" if router:
                data = {"models": [{"model": "9", "deployment": "Model", "state": "waiting", "waiting": 2}]}
            case "models":
                data = {"models": [self.info(model) for model in self.models]}
            case "pin" if self.refuses(query.args["models"]):
                data = {"error": "model_load_failed"}
                return Answer(id=query.id, ok=False, message="model 'torn' failed to load", data=data)
            case "load" | "pin" | "unpin":
                self.pinned |= set(query.args["models"]) if query.what == "pin" else set()
                self.pinned -= set(query.args["models"]) if query.what == "unpin" else set()
                self.models += [m for m in query.args["models"] if m not in self.models and not router]
                data = {"models": [self.info(model) for model in query.args["models"]]}
            case "unload":
                if unknown := [m for m in query.args["models"] if m not in self.models]:
                    message = f"model {unknown[0]!r} is not resident"
                    return Answer(id=query.id, ok=False, message=message, data={"error": "not_found"})
                data = {"models": [self.info(model) for model in query.args["models"]]}
            case "explain" if query.args.get("model") == "3":
                at = 1.0 if router else 2.0
                data = {"records": [{"at": at, "line": f"{self.spec.role} saw model 3"}]}
            case "spec":
                data = {**msgspec.to_builtins(self.spec), "table": msgspec.to_builtins(self.table)}
            case "config":
                data = {"user_config": self.user_config, "env": dict(os.environ)}
            case _:
                data = {}
        return Answer(id=query.id, data=data)

    def refuses(self, models: list[str]) -> bool:
        """Return whether 'torn' is among the models and this is the replica that cannot load it."""
        torn_in = Path(self.user_config.get("torn_in", ""))
        return "torn" in models and torn_in.is_file() and torn_in.read_text() == self.spec.name

    def info(self, model: str) -> dict[str, Any]:
        deployment = self.spec.deployment.get("name", "")
        return {
            "model": model,
            "deployment": deployment,
            "replica": self.spec.name,
            "pinned": model in self.pinned,
        }


async def main(spec: ChildSpec) -> int:
    channel = await ControlChannel.open(spec.control_fd)
    child = FakeChild(spec, channel)
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(child.run())
    loop.add_signal_handler(signal.SIGUSR1, lambda: channel.send(child.pong))
    if child.mode == "stubborn":
        loop.add_signal_handler(signal.SIGTERM, lambda: None)
    else:
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 0
    finally:
        await channel.close()


if __name__ == "__main__":
    own = msgspec.json.decode(Path(sys.argv[sys.argv.index("--spec") + 1]).read_bytes(), type=ChildSpec)
    watch_parent(own.liveness_fd, parent_pid=own.parent_pid, grace_s=0.5)
    sys.exit(asyncio.run(main(own)))
