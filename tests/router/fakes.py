"""A replica that speaks the real link and does what a test says, and the router under test round it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from runtime.link.connection import Link
from runtime.link.control import ChildSpec, ReplicaEntry, RouteEntry, Table
from runtime.link.endpoint import listen
from runtime.link.frames import (
    ABORT,
    END,
    MAGIC,
    REFUSED,
    REQUEST,
    RESPONSE,
    VERSION,
    Abort,
    CallHead,
    Command,
    FailureHead,
    Hello,
    ModelHead,
    Refused,
    Reply,
    RequestHead,
    ResponseHead,
    State,
    SummaryHead,
    decode_head,
    encode_head,
)
from runtime.link.stream import Stream
from runtime.router.router import Router

DEADLINE_S = 10.0


class RecordingLog:
    """What the router would have written."""

    flush_interval_s = 0.1

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.lines: list[dict[str, Any]] = []

    def event(self, message: str, *, level: str = "INFO", **fields: object) -> None:
        self.events.append((level, message))

    def sampled_out(self) -> bool:
        return False

    def access(self, **fields: Any) -> None:
        self.lines.append(fields)

    def errors(self) -> list[str]:
        return [message for level, message in self.events if level == "ERROR"]


class QuietTransport(asyncio.Transport):
    """A client's connection that takes everything; subclasses say what of it they remember."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 5), "sockname": ("127.0.0.1", 80)})
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Give the loop turns until ``condition`` holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0)
            await _loop_turn()


async def _loop_turn() -> None:
    """Let the selector look at the sockets once."""
    turned = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, turned.set)
    await turned.wait()


async def at_rest(value: Callable[[], int]) -> int:
    """Wait until ``value`` no longer changes; return it."""
    async with asyncio.timeout(DEADLINE_S):
        seen = -1
        while seen != value():
            seen = value()
            for _ in range(30):
                await _loop_turn()
    return seen


class Work:
    """One stream of a request, as the fake replica sees it."""

    def __init__(self, stream: Stream, head: Any, ended: bool) -> None:
        self.stream = stream
        self.head_ = head
        self.parts: list[bytes] = [head.body] if getattr(head, "body", b"") else []
        self.frames: list[tuple[int, bytes, int]] = []
        self.ended = ended
        self.was_cancelled = False
        self.was_lost = False
        self.hold_credit = False
        self.received = len(self.parts[0]) if self.parts else 0

    # StreamHandler
    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None:
        self.frames.append((kind, bytes(payload), flags))

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        self.parts.append(data)
        self.received += len(data)
        self.ended = self.ended or end
        if not self.hold_credit:
            stream.consumed(len(data))

    def stopped(self, stream: Stream) -> None: ...

    def cancelled(self, stream: Stream) -> None:
        self.was_cancelled = True
        if not stream.local_ended:
            stream.send(ABORT, encode_head(Abort("client_gone", "cancelled", 499)))

    def lost(self, stream: Stream) -> None:
        self.was_lost = True

    # for scripts
    def respond(
        self, body: bytes = b"ok", status: int = 200, headers: list[tuple[bytes, bytes]] | None = None,
        *, end: bool = True, **extra: Any,
    ) -> None:  # fmt: skip
        head = ResponseHead(status, headers if headers is not None else [(b"content-type", b"text/plain")], body=body)
        for name, value in extra.items():
            setattr(head, name, value)
        self.stream.send(RESPONSE, encode_head(head), END if end else 0)

    def refuse(self, why: str, failure: FailureHead | None = None) -> None:
        self.stream.send(REFUSED, encode_head(Refused(why, failure)))

    def abort(self, code: str = "user_code_failed", message: str = "boom", status: int = 500) -> None:
        self.stream.send(ABORT, encode_head(Abort(code, message, status)))

    async def whole(self) -> bytes:
        await until(lambda: self.ended)
        return b"".join(self.parts)


Script = Callable[[Work], Awaitable[None]]


async def ok(work: Work) -> None:
    work.respond()


class FakeReplica:
    """Listens, says hello, publishes its models, and runs one script per request."""

    def __init__(
        self, address: str, *, name: str = "Model#abc123", deployment: str = "Model", index: int = 0, places: int = 100,
        slots: int = 3, caches: int = 0, models: tuple[str, ...] = (), script: Script = ok,
        work: type[Work] = Work,
    ) -> None:  # fmt: skip
        self.address = address
        self.name = name
        self.deployment = deployment
        self.script = script
        self.work = work
        self.models = models
        self.slots = slots
        self.place = "up"  # in the table
        self.works: list[Work] = []
        self.links: list[Link] = []
        self.commands: list[Command] = []
        self.on_command: Callable[[Link, Command], None] | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.failed: list[BaseException] = []
        self._hello = Hello(MAGIC, VERSION, "replica", name, "", deployment, index, 1, places, slots, caches)
        self._server: Any = None

    @property
    def entry(self) -> ReplicaEntry:
        return ReplicaEntry(
            id=self.name, deployment=self.deployment, index=self._hello.index, address=self.address, token="secret",
            state=self.place,
        )  # fmt: skip

    async def start(self) -> None:
        self._server = await listen(self.address, lambda: self._hello, self, token="secret")

    def publish(self, model: str, state: str, link: Link | None = None, **fields: Any) -> None:
        for one in [link] if link else self.links:
            one.send_state(State(1, False, [ModelHead(model, state, **fields)]))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server.close_links("the test is over")
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await until(lambda: not self._server or not self._server.links)
        if self.failed:
            raise self.failed[0]

    def die(self) -> None:
        """Drop every link and listen no more, as a killed process does."""
        self._server.close()
        self._server.close_links("killed")

    # LinkHandler
    def connected(self, link: Link) -> None:
        self.links.append(link)
        models = [ModelHead(model, "resident", 0.01) for model in self.models]
        link.send_state(State(0, True, models, SummaryHead(free_slots=self.slots)))

    def lost(self, link: Link, why: str) -> None:
        self.links.remove(link)

    def opened(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> Work:
        head = decode_head(RequestHead if kind == REQUEST else CallHead, payload)
        work = self.work(stream, head, bool(flags & END))
        self.works.append(work)
        task = asyncio.get_running_loop().create_task(self._run(work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return work

    async def _run(self, work: Work) -> None:
        try:
            await self.script(work)
        except Exception as exc:
            if not work.was_lost and not work.was_cancelled:
                self.failed.append(exc)

    def state(self, link: Link, state: State) -> None: ...

    def command(self, link: Link, command: Command) -> None:
        self.commands.append(command)
        if self.on_command is not None:
            self.on_command(link, command)

    def reply(self, link: Link, reply: Reply) -> None: ...

    def goaway(self, link: Link, reason: str) -> None: ...


class House:
    """A router on a loopback port and its fake replicas."""

    def __init__(self, folder: Path, *, fast: bool = True) -> None:
        self.folder = folder
        self.log = RecordingLog()
        self.fast = fast
        self.http: dict[str, Any] = {}
        self.model_id: dict[str, Any] = {}
        self.admin_token = ""
        self.deployment: dict[str, Any] = {"name": "Model", "loader": "app:load"}
        self.replicas: list[FakeReplica] = []
        self.routes: list[RouteEntry] | None = None
        self.generation = 0
        self.port = 0
        self.router: Router = None  # type: ignore[assignment]
        self.parts: dict[str, Any] = {}
        self.calls_address = ""

    def replica(self, **options: Any) -> FakeReplica:
        number = len(self.replicas)
        options.setdefault("name", f"Model#r{number}")
        options.setdefault("index", number)
        one = FakeReplica(f"unix:{self.folder}/r{number}.sock", **options)
        self.replicas.append(one)
        return one

    async def start(self) -> House:
        spec = ChildSpec(
            role="router", name="router-0", project="test", config_dir=str(self.folder), log_dir=str(self.folder),
            control_fd=-1, liveness_fd=-1, http=self.http, model_id=self.model_id, admin_token=self.admin_token,
            calls_address=self.calls_address, calls_token="outside",
        )  # fmt: skip
        self.router = Router(spec, self.log, fast=self.fast, **self.parts)  # type: ignore[arg-type]
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        sock.setblocking(False)
        self.port = sock.getsockname()[1]
        await self.router.start([sock])
        for replica in self.replicas:
            await replica.start()
        await self.apply()
        return self

    async def apply(self, replicas: list[FakeReplica] | None = None) -> None:
        self.generation += 1
        routes = self.routes or [RouteEntry(name="Model", route_prefix="/", deployment=self.deployment)]
        table = Table(generation=self.generation, routes=routes, replicas=[r.entry for r in replicas or self.replicas])
        for replica in self.router.apply(table):
            async with asyncio.timeout(DEADLINE_S):
                await replica.up.wait()

    async def stop(self) -> None:
        if self.router is not None:
            await self.router.stop(0.5)
        for replica in self.replicas:
            await replica.stop()

    async def connect(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return Client(reader, writer)

    async def ask(self, *args: Any, **kwargs: Any) -> Answer:
        """One request on a connection of its own."""
        client = await self.connect()
        try:
            return await client.ask(*args, **kwargs)
        finally:
            await client.close()


class Answer:
    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.headers = dict(headers)
        self.pairs = headers
        self.body = body

    def json(self) -> Any:
        import json

        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.headers} {self.body[:200]!r}>"


class Client:
    """A raw HTTP/1.1 client that can send anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(
        self, method: str = "GET", path: str = "/", headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "host: test"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"content-length: {len(body)}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return await self.answer(method)

    async def head(self) -> tuple[int, list[tuple[str, str]]]:
        async with asyncio.timeout(DEADLINE_S):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *rest = raw.decode("latin-1").split("\r\n")[:-2]
        pairs = [(line.split(":", 1)[0].lower(), line.split(":", 1)[1].strip()) for line in rest]
        return int(first.split()[1]), pairs

    async def answer(self, method: str = "GET") -> Answer:
        async with asyncio.timeout(DEADLINE_S):
            status, pairs = await self.head()
            headers = dict(pairs)
            if method == "HEAD" or status in (204, 304) or 100 <= status < 200:
                return Answer(status, pairs, b"")
            if headers.get("transfer-encoding") == "chunked":
                return Answer(status, pairs, await self.chunks())
            if "content-length" in headers:
                return Answer(status, pairs, await self.reader.readexactly(int(headers["content-length"])))
            return Answer(status, pairs, await self.reader.read())

    async def chunks(self) -> bytes:
        parts = []
        while size := int(await self.reader.readline(), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(parts)

    async def closed(self) -> bytes:
        """Wait until the router has closed; return what came before."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (ConnectionResetError, BrokenPipeError):
            return
