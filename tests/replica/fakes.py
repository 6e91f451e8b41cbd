"""A router that is only a link, and a replica in this process to put behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from runtime.config.deployment import Deployment
from runtime.core.events import Stopping
from runtime.link.connection import Link
from runtime.link.control import ChildSpec
from runtime.link.endpoint import connect, listen
from runtime.link.frames import (
    ABORT,
    ADMITTED,
    CALL,
    CLOSE,
    END,
    MAGIC,
    MESSAGE,
    REFUSED,
    REQUEST,
    RESPONSE,
    RESULT,
    TEXT,
    VERSION,
    Abort,
    CallHead,
    Close,
    Command,
    Hello,
    Refused,
    Reply,
    RequestHead,
    ResponseHead,
    ResultHead,
    State,
    decode_head,
    encode_head,
)
from runtime.link.stream import Stream
from runtime.observe.logs import Identity, LogWriter
from runtime.replica.building import build_host
from runtime.replica.host import Host
from runtime.replica.settings import DeploymentSettings, user_config_of
from runtime.router.pipe import Pipe
from runtime.serve.context import set_replica_context

DEADLINE_S = 10.0


@dataclass
class Answer:
    """What came back on one stream. Implements ``StreamHandler``."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cache: str = ""
    refused: Refused | None = None
    aborted: Abort | None = None
    admitted: bool = False
    results: list[Any] = field(default_factory=list)
    messages: list[str | bytes] = field(default_factory=list)
    closed: Close | None = None
    terminals: int = 0
    lost_link: bool = False
    frames: int = 0
    hold_credit: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    stream: Stream | None = None

    @property
    def ended(self) -> bool:
        return self.terminals > 0 or self.lost_link

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        self.frames += 1
        if kind == RESPONSE:
            head = decode_head(ResponseHead, payload)
            self.status, self.cache, self.body = head.status, head.cache, self.body + head.body
            self.headers = {name.decode(): value.decode() for name, value in head.headers}
        elif kind == ADMITTED:
            self.admitted = True
        elif kind == REFUSED:
            self.refused = decode_head(Refused, payload)
        elif kind == ABORT:
            self.aborted = decode_head(Abort, payload)
        elif kind == RESULT:
            self.results.append(decode_head(ResultHead, payload))
        elif kind == MESSAGE:
            data = bytes(payload)
            self.messages.append(data.decode() if flags & TEXT else data)
            stream.consumed(len(data))
        elif kind == CLOSE:
            self.closed = decode_head(Close, payload)
        if flags & END or kind in (REFUSED, ABORT):
            self.terminals += 1
        self.changed.set()

    def body_frame(self, data: bytes) -> None:
        self.body += data

    def stopped(self, stream: Stream) -> None:
        self.changed.set()

    def cancelled(self, stream: Stream) -> None:
        raise AssertionError("only the opener cancels")

    def lost(self, stream: Stream) -> None:
        self.lost_link = True
        self.changed.set()

    async def until(self, condition: Callable[[Answer], Any]) -> Answer:
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self):
                self.changed.clear()
                await self.changed.wait()
        return self

    async def end(self) -> Answer:
        return await self.until(lambda answer: answer.ended)


class _Handler:
    """``Answer`` has a field ``body``, a ``StreamHandler`` a method of that name."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.head = answer.head
        self.stopped = answer.stopped
        self.cancelled = answer.cancelled
        self.lost = answer.lost

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        self._answer.frames += 1
        self._answer.body_frame(data)
        self._answer.terminals += end
        if not self._answer.hold_credit:
            stream.consumed(len(data))
        self._answer.changed.set()


class FakeRouter:
    """A router's end of a link: opens streams, collects what the replica says."""

    def __init__(self) -> None:
        self.link: Link
        self.models: dict[str, str] = {}  # model → state, as published
        self.failures: dict[str, str] = {}
        self.commands: list[Command] = []
        self.replies: list[Reply] = []
        self.snapshots = 0
        self.gone = ""
        self.calls: list[CallHead] = []
        self.on_call: Callable[[CallHead], None] = lambda head: None
        self.changed = asyncio.Event()

    async def connect(self, address: str, token: str) -> None:
        hello = Hello(MAGIC, VERSION, "router", "router-0", token=token)
        self.link = await connect(address, hello, self)
        await self.until(lambda: self.snapshots)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def open(
        self,
        path: str = "/",
        *,
        model: str = "",
        body: bytes = b"",
        more: bool = False,
        method: str = "POST",
        scheme: str = "http",
        headers: list[tuple[bytes, bytes]] | None = None,
        time_left_ms: int = 0,
        cache: str = "",
        request_id: str = "r1",
        hold_credit: bool = False,
    ) -> Answer:
        head = RequestHead(
            method=method, path=path, raw_path=path.encode(), query=b"", scheme=scheme, http_version="1.1",
            client=("127.0.0.1", 5), server=("127.0.0.1", 80), headers=headers or [], route="/", model=model,
            request_id=request_id, time_left_ms=time_left_ms, cache=cache, body=body,
        )  # fmt: skip
        answer = Answer(hold_credit=hold_credit)
        answer.stream = self.link.open(REQUEST, encode_head(head), _Handler(answer), 0 if more else END)
        return answer

    async def request(self, path: str = "/", **options: Any) -> Answer:
        """Send a request as a router does: where it names a model, want that first."""
        if options.get("model"):
            await self.want(options["model"])
        return await self.open(path, **options).end()

    async def want(self, model: str) -> None:
        """Want a model until it is resident or has failed."""
        if self.models.get(model) != "resident":
            self.models.pop(model, None)
            self.say("want", model, kind="cold", waiting=1)
            await self.until(lambda: self.models.get(model) in ("resident", "failed"))
            self.say("release", model)

    def say(self, verb: str, model: str = "", **fields: Any) -> None:
        self.link.command(Command(verb, model, **fields))

    async def call(self, head: CallHead, end: bool = True) -> Answer:
        answer = Answer()
        answer.stream = self.link.open(CALL, encode_head(head), _Handler(answer), END if end else 0)
        return await answer.end()

    # --- LinkHandler

    def connected(self, link: Link) -> None:
        self.link = link

    def lost(self, link: Link, why: str) -> None:
        self.gone = why
        self.changed.set()

    def opened(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> Any:
        head = decode_head(CallHead, payload)
        self.on_call(head)
        return CallRelay(self, stream, head, flags)

    def state(self, link: Link, state: State) -> None:
        self.snapshots += state.snapshot
        if state.snapshot:
            self.models.clear()
        for head in state.models:
            self.models[head.model] = head.state
            if head.failure is not None:
                self.failures[head.model] = head.failure.code
        self.changed.set()

    def command(self, link: Link, command: Command) -> None:
        self.commands.append(command)
        self.changed.set()

    def reply(self, link: Link, reply: Reply) -> None:
        self.replies.append(reply)
        self.changed.set()

    def goaway(self, link: Link, reason: str) -> None:
        self.gone = reason
        self.changed.set()


class CallRelay:
    """Forwards a call of the replica to that same replica, as the real router does to any."""

    def __init__(self, router: FakeRouter, stream: Stream, head: CallHead, flags: int) -> None:
        router.calls.append(head)
        self._stream = stream
        self._out = router.link.open(CALL, encode_head(head), _RelayBack(self), flags & END)
        self._pipe = Pipe(self._out)
        self._back = Pipe(stream)

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        raise AssertionError("a call's opener sends bodies only")

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        self._pipe.body(stream, data, end)

    def stopped(self, stream: Stream) -> None:
        pass

    def cancelled(self, stream: Stream) -> None:
        self._out.cancel()

    def lost(self, stream: Stream) -> None:
        self._out.cancel()

    def back(self, kind: int, payload: bytes, flags: int) -> None:
        if not self._stream.closed:
            self._back.head(kind, payload, flags)

    def back_body(self, source: Stream, data: bytes, end: bool) -> None:
        self._back.body(source, data, end)


class _RelayBack:
    def __init__(self, relay: CallRelay) -> None:
        self._relay = relay

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        self._relay.back(kind, bytes(payload), flags)

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        self._relay.back_body(stream, data, end)

    def stopped(self, stream: Stream) -> None:
        pass

    def cancelled(self, stream: Stream) -> None:
        raise AssertionError("only the opener cancels")

    def lost(self, stream: Stream) -> None:
        pass


@dataclass
class Replica:
    """A replica in this process, with one router connected to it."""

    host: Host
    router: FakeRouter
    logs: Path
    address: str
    faults: list[str]
    progress: list[tuple[str, str, float | None]]
    server: Any

    def log_lines(self, event: str = "") -> list[dict[str, Any]]:
        self.host.writer.flush()
        lines = [line for file in sorted(self.logs.glob("*.jsonl")) for line in file.read_bytes().splitlines()]
        records = [msgspec.json.decode(line) for line in lines]
        return [record for record in records if not event or record.get("event") == event]

    def messages(self, event: str = "") -> list[str]:
        return [record["msg"] for record in self.log_lines(event)]

    async def another_router(self) -> FakeRouter:
        router = FakeRouter()
        await router.connect(self.address, "secret")
        return router


@asynccontextmanager
async def running(tmp_path: Path, clock: Callable[[], float] = time.monotonic, **config: Any) -> AsyncIterator[Replica]:
    """Run a replica of ``config`` whose code is importable; drained and checked for residue at the end."""
    checked = Deployment.model_validate({"name": "Model", **config})
    deployment = DeploymentSettings.of_spec(checked.to_spec())
    address = f"unix:{tmp_path / 'r.sock'}"
    spec = ChildSpec(
        role="replica", name="Model#EjYmnQ", project="p", config_dir=str(tmp_path), log_dir=str(tmp_path / "logs"),
        control_fd=-1, liveness_fd=-1, deployment=checked.to_spec(), address=address, token="secret",
        cache_dir=str(tmp_path / "cache"), cache_max_bytes=10**9,
    )  # fmt: skip
    writer = LogWriter(tmp_path / "logs", Identity(spec.name, "default", "Model", "EjYmnQ"))
    faults: list[str] = []
    progress: list[tuple[str, str, float | None]] = []
    host = build_host(
        spec,
        deployment,
        writer,
        progress=lambda *words: progress.append(words),
        on_command=lambda link, command: None,
        on_fault=faults.append,
    )
    limits = host.limits

    def hello() -> Hello:
        return Hello(MAGIC, VERSION, "replica", spec.name, places=limits.places, caches=len(limits.slots))

    try:
        await host.servable.start(user_config_of(deployment, host.servable))
        server = await listen(address, hello, host, token="secret")
        router = FakeRouter()
        await router.connect(address, "secret")
        yield Replica(host, router, tmp_path / "logs", address, faults, progress, server)
        host.cancel_all("draining")
        host.apply(Stopping())
        assert await host.until(lambda: not host.works and host.models.idle, DEADLINE_S), repr(host)
        router.link.close("the test is over")
        server.close()
        await host.until(lambda: not host.links, DEADLINE_S)
    finally:
        await host.servable.stop()
        host.close()
        set_replica_context(None)
        writer.close()
