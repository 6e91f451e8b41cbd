"""A script's own link to the router: calls, streams, errors, bodies, credit, cancellation, reconnecting."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.errors import CallTimeout, NoSuchThing, NotRunning, QueueFull, ReplicaDied
from runtime.link.connection import Link
from runtime.link.endpoint import LinkServer, listen
from runtime.link.frames import (
    ADMITTED,
    END,
    MAGIC,
    REFUSED,
    RESULT,
    VERSION,
    CallHead,
    Command,
    FailureHead,
    Hello,
    Refused,
    Reply,
    ResultHead,
    State,
    decode_head,
    encode_head,
)  # fmt: skip
from runtime.link.memory import UNREACHABLE
from runtime.link.stream import Stream, StreamEnded
from runtime.project import Project
from runtime.serve import api
from runtime.serve.calls import pack
from runtime.serve.codec import Encoded, Incoming, encode
from runtime.serve.context import Call, RequestContext, request_context
from runtime.serve.failures import RemoteError, encode_error
from runtime.serve.handle import DeploymentHandle
from runtime.serve.remote import RemoteTransport, close_transports, transport_to
from tests.serve.fakes import until

pytestmark = pytest.mark.anyio

TOKEN = "a-token"


class Router:
    """Stands for a router with replicas behind it: answers calls with methods of its own, by name."""

    def __init__(self) -> None:
        self.heads: list[CallHead] = []
        self.links: list[Link] = []
        self.cancelled: list[str] = []
        self.sent = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.server: LinkServer | None = None

    async def start(self, path: Path) -> None:
        hello = Hello(MAGIC, VERSION, "router", "router-0")
        self.server = await listen(f"unix:{path}", lambda: hello, self, token=TOKEN)

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        self.server.close_links("stopped")
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await until(lambda: not self.server.links)  # type: ignore[union-attr]

    def opened(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> Served:
        head = decode_head(CallHead, payload)
        self.heads.append(head)
        if head.memory is not None:  # as a replica elsewhere does
            stream.send(REFUSED, encode_head(Refused(UNREACHABLE)))
        return Served(self, stream, head)

    def connected(self, link: Link) -> None:
        self.links.append(link)

    def lost(self, link: Link, why: str) -> None: ...
    def state(self, link: Link, state: State) -> None: ...
    def command(self, link: Link, command: Command) -> None: ...
    def reply(self, link: Link, reply: Reply) -> None: ...
    def goaway(self, link: Link, reason: str) -> None: ...


class Served:
    def __init__(self, router: Router, stream: Stream, head: CallHead) -> None:
        self.router, self.stream, self.call = router, stream, head
        self.arguments = Incoming(head.payload, head.payload_bytes, head.buffers)
        self.task: asyncio.Task[None] | None = None
        if not stream.closed:
            self.start()

    def start(self) -> None:
        if self.arguments.complete and self.task is None:
            self.task = asyncio.get_running_loop().create_task(self.run())
            self.router.tasks.add(self.task)
            self.task.add_done_callback(self.router.tasks.discard)

    async def run(self) -> None:
        args, kwargs = self.arguments.value()
        try:
            await getattr(self, self.call.method)(*args, **kwargs)
        except StreamEnded:
            self.router.cancelled.append(self.call.method)
        except ValueError as exc:
            await self.send("error", encode_error(exc, "default_Model#EjYmnQ"), last=True)

    async def send(self, kind: str, value: Encoded, *, last: bool) -> None:
        parts = list(value.body())
        head = ResultHead(kind, len(value.payload), value.lengths, value.inline)
        self.stream.send(RESULT, encode_head(head), END if last and not parts else 0)
        for number, part in enumerate(parts, 1):
            await self.stream.send_body(part, end=last and number == len(parts))

    async def echo(self, *args: Any, **kwargs: Any) -> None:
        self.stream.send(ADMITTED, encode_head(1.0))
        await self.send("value", encode((args, kwargs)), last=True)

    async def fail(self) -> None:
        raise ValueError("from afar")

    async def time_out(self) -> None:
        await self.send("error", encode_error(TimeoutError("of the user's own"), "there"), last=True)

    async def give_up(self) -> None:
        await self.send("error", encode_error(concurrent.futures.CancelledError(), "there"), last=True)

    async def refuse(self) -> None:
        self.stream.send(REFUSED, encode_head(Refused("full", FailureHead("queue_full", "no room", 2.0))))

    async def never(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def count(self, n: int, size: int = 0) -> None:
        for i in range(n):
            await self.send("item", encode(i if not size else bytes([i]) * size), last=False)
            self.router.sent += 1
        await self.send("end", Encoded(b"", []), last=True)

    def head(self, stream: Stream, kind: int, payload: memoryview, flags: int) -> None: ...

    def body(self, stream: Stream, data: bytes, end: bool) -> None:
        self.arguments.feed(data)
        stream.consumed(len(data))
        self.start()

    def stopped(self, stream: Stream) -> None: ...

    def cancelled(self, stream: Stream) -> None:
        self.router.cancelled.append(self.call.method)
        if self.task is not None:
            self.task.cancel()
        stream.send(REFUSED, encode_head(Refused("expired")))

    def lost(self, stream: Stream) -> None:
        if self.task is not None:
            self.task.cancel()


def project_in(folder: Path, **deployed: Any) -> Project:
    project = Project("shop", folder / "mux.yaml", folder, folder)
    project.create()
    (folder / "calls.token").write_text(TOKEN + "\n")
    config = {"deployments": [{"name": "Model"}, {"name": "Front", "application": "web"}], **deployed}
    project.desired_file.write_bytes(msgspec.json.encode({"generation": 1, "config": config}))
    return project


@pytest.fixture
async def router(short_dir: Path, anyio_backend: str) -> AsyncIterator[Router]:
    found = Router()
    await found.start(short_dir / "calls-0.sock")
    yield found
    await found.stop()


@pytest.fixture
def transport(short_dir: Path, router: Router) -> Iterator[RemoteTransport]:
    made = RemoteTransport(project_in(short_dir))
    yield made
    made.close()


def calling(method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, **fields: Any) -> Call:
    return Call("Model", method, "3", pack("Model", method, args, kwargs or {}), **fields)


async def call(transport: RemoteTransport, method: str, *args: Any, timeout_s: float | None = 10, **kwargs: Any) -> Any:
    """Call from this loop, as a notebook does: the transport's loop is another."""
    made = transport.call(calling(method, args, kwargs, request=RequestContext("r1"), timeout_s=timeout_s))
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(made, transport.loop))


class TestCalls:
    async def test_a_small_call_is_one_frame_with_all_that_the_router_needs(
        self, router: Router, transport: RemoteTransport
    ) -> None:
        request = RequestContext("r1", route="/x", chain=("Front",))
        made = transport.call(calling("echo", (1,), {"b": 2}, request=request, timeout_s=1.5))
        assert await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(made, transport.loop)) == ((1,), {"b": 2})
        [head] = router.heads
        assert (head.deployment, head.method, head.model, head.request_id) == ("Model", "echo", "3", "r1")
        assert (head.route, head.chain, head.time_left_ms, head.streaming) == ("/x", ["Front"], 1500, False)
        assert router.links[0].peer.role == "handle"

    async def test_large_arguments_and_results_travel_as_body_where_memory_is_not_shared(
        self, router: Router, transport: RemoteTransport
    ) -> None:
        numpy = pytest.importorskip("numpy")
        array, text = numpy.arange(400_000), "x" * 300_000
        (got, same), _ = await call(transport, "echo", array, text)
        assert numpy.array_equal(got, array)
        assert same == text
        assert [head.payload for head in router.heads] == [b"", b""]
        assert [head.memory is None for head in router.heads] == [False, True]
        assert router.heads[1].buffers == [array.nbytes]
        await call(transport, "echo", array, text)
        assert [head.memory is None for head in router.heads] == [False, True, True], "it is not tried again"

    async def test_a_call_that_goes_again_as_body_carries_what_it_was_given(
        self, router: Router, transport: RemoteTransport
    ) -> None:
        numpy = pytest.importorskip("numpy")
        await call(transport, "echo")

        async def changing() -> Any:
            array = numpy.zeros(400_000)
            answer = transport.start(calling("echo", (array,)))
            assert answer is not None
            array[:] = 1
            return await answer

        answer = asyncio.run_coroutine_threadsafe(changing(), transport.loop)
        (got,), _ = await asyncio.wrap_future(answer)
        assert [head.memory is None for head in router.heads] == [True, False, True]
        assert not got.any()

    async def test_an_exception_has_the_remote_traceback_as_its_cause(
        self, router: Router, transport: RemoteTransport
    ) -> None:
        with pytest.raises(ValueError, match="from afar") as caught:
            await call(transport, "fail")
        assert isinstance(caught.value.__cause__, RemoteError)
        assert "in fail" in str(caught.value.__cause__)

    async def test_the_users_own_timeout_error_stays_what_it_is(
        self, router: Router, transport: RemoteTransport
    ) -> None:
        with pytest.raises(TimeoutError, match="of the user's own") as caught:
            await call(transport, "time_out")
        assert not isinstance(caught.value, CallTimeout)

    async def test_a_call_whose_head_cannot_be_sent_keeps_no_memory(
        self, router: Router, transport: RemoteTransport
    ) -> None:
        numpy = pytest.importorskip("numpy")
        await call(transport, "echo")
        handle = DeploymentHandle("Model", transport=transport).options(multiplexed_model_id="\ud800")
        with pytest.raises(UnicodeEncodeError):
            await handle.remote(numpy.zeros(400_000))
        assert transport._link is not None
        assert transport._link.memory is not None
        assert [segment.lent for segment in transport._link.memory.segments] == [False]

    @pytest.mark.parametrize("name", ["time_out", "give_up"])
    async def test_exceptions_keep_their_kind_and_cause_between_threads(
        self, router: Router, transport: RemoteTransport, name: str
    ) -> None:
        method = DeploymentHandle("Model", transport=transport).options(method_name=name)
        kind = TimeoutError if name == "time_out" else concurrent.futures.CancelledError

        def cause(ask: Callable[[], object]) -> BaseException | None:
            """Look at the exception in the thread: raised out of ``asyncio.to_thread``, it would be changed there."""
            with pytest.raises(kind) as caught:
                ask()
            return caught.value.__cause__

        ways = [lambda: method.remote().result(timeout_s=10), lambda: list(method.options(stream=True).remote())]
        for way in ways:
            assert isinstance(await asyncio.to_thread(cause, way), RemoteError)
        with pytest.raises(kind) as caught:
            await method.remote()
        assert isinstance(caught.value.__cause__, RemoteError)

    async def test_a_refusal_is_the_error_it_names(self, router: Router, transport: RemoteTransport) -> None:
        with pytest.raises(QueueFull) as caught:
            await call(transport, "refuse")
        assert caught.value.retry_after_s == 2.0

    async def test_a_late_answer_is_a_call_timeout_and_the_call_is_cancelled(
        self, router: Router, transport: RemoteTransport
    ) -> None:
        with pytest.raises(CallTimeout, match=r"Model\.never did not answer within 0.01 s"):
            await call(transport, "never", timeout_s=0.01)
        await until(lambda: router.cancelled == ["never"])

    async def test_a_lost_link_is_an_error_and_the_next_call_connects_again(
        self, router: Router, transport: RemoteTransport
    ) -> None:
        waiting = asyncio.ensure_future(call(transport, "never"))
        await until(lambda: len(router.heads) == 1)
        router.links[0].close("gone")
        with pytest.raises(ReplicaDied, match="may have run"):
            await waiting
        assert await call(transport, "echo", 1) == ((1,), {})
        assert len(router.links) == 2

    async def test_what_cannot_be_pickled_says_which_call_it_was_for(
        self, router: Router, transport: RemoteTransport
    ) -> None:
        with pytest.raises(Exception, match="pickle") as caught:
            await call(transport, "echo", lambda: None)
        assert caught.value.__notes__ == ["while pickling the arguments of Model.echo"]


class TestStreams:
    async def read(self, transport: RemoteTransport, *args: Any, stop_after: int = 10**6) -> list[Any]:
        async def items() -> list[Any]:
            found: list[Any] = []
            stream = transport.stream(calling("count", args, timeout_s=10))
            async for item in stream:
                found.append(item)
                if len(found) == stop_after:
                    await stream.aclose()  # type: ignore[attr-defined]
            return found

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(items(), transport.loop))

    @pytest.mark.parametrize("size", [0, 1000, 200_000])
    async def test_items_in_order(self, router: Router, transport: RemoteTransport, size: int) -> None:
        expected = [i if not size else bytes([i]) * size for i in range(20)]
        assert await self.read(transport, 20, size) == expected

    async def test_closing_it_cancels_the_call(self, router: Router, transport: RemoteTransport) -> None:
        assert len(await self.read(transport, 200, 100_000, stop_after=2)) == 2
        await until(lambda: router.cancelled == ["count"])

    async def test_a_slow_reader_holds_the_sender_back(self, router: Router, transport: RemoteTransport) -> None:
        async def first_then_wait() -> Any:
            stream = transport.stream(calling("count", (200, 100_000), timeout_s=10))
            await anext(stream)
            return stream

        stream = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(first_then_wait(), transport.loop))
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(router_idle(transport), transport.loop))
        assert router.sent < 60
        closing = asyncio.run_coroutine_threadsafe(stream.aclose(), transport.loop)
        await asyncio.wrap_future(closing)


async def router_idle(transport: RemoteTransport) -> None:
    """Wait until a ping has gone round behind everything that was sent."""
    assert transport._link is not None
    for _ in range(5):
        await transport._link.ping(5.0)


class TestHandles:
    async def test_get_deployment_handle_checks_names_and_calls(self, router: Router, short_dir: Path) -> None:
        project = project_in(short_dir)
        try:
            handle = api.deployment_handle(project, "Model", "default")
            assert await handle.echo.remote(1) == ((1,), {})
            assert await asyncio.to_thread(lambda: handle.echo.remote(2).result(timeout_s=10)) == ((2,), {})
            items = handle.options(stream=True).count.remote(3)
            assert [item async for item in items] == [0, 1, 2]
            assert await asyncio.to_thread(lambda: list(handle.options(stream=True).count.remote(2))) == [0, 1]
            assert api.app_handle(project, "web").deployment_name == "Front"
            with pytest.raises(NoSuchThing, match="no deployment 'Modle'"):
                api.deployment_handle(project, "Modle", "default")
            with pytest.raises(NoSuchThing, match="no deployment 'Model' in 'web'"):
                api.deployment_handle(project, "Model", "web")
            with pytest.raises(NoSuchThing, match="no application 'wbe'"):
                api.app_handle(project, "wbe")
            assert transport_to(project) is transport_to(project)
        finally:
            await asyncio.to_thread(close_transports)
        assert request_context.get() is None
        with pytest.raises(NotRunning, match="is closed: the project was taken down here"):
            handle.echo.remote(3)

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    async def test_a_forked_process_makes_a_link_of_its_own(self, router: Router, transport: RemoteTransport) -> None:
        handle = api.deployment_handle(transport.project, "Model", "default", transport=transport)

        def in_child() -> int:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    with ThreadPoolExecutor(8) as threads:  # whose first calls are at once
                        asked = threads.map(lambda x: handle.echo.remote(x).result(timeout_s=10), range(8))
                    code = 0 if list(asked) == [((x,), {}) for x in range(8)] else 2
                    transport.close()
                finally:
                    os._exit(code)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        assert await handle.echo.remote(1) == ((1,), {})
        assert await asyncio.to_thread(in_child) == 0
        assert await handle.echo.remote(3) == ((3,), {})
        assert len(router.links) == 2

    async def test_cancelling_reaches_the_router(self, router: Router, transport: RemoteTransport) -> None:
        handle = api.deployment_handle(transport.project, "Model", "default", transport=transport)
        response = handle.never.remote()
        await until(lambda: len(router.heads) == 1)
        response.cancel()
        with pytest.raises(Exception, match="cancelled"):
            await response
        await until(lambda: router.cancelled == ["never"])

    async def test_a_wrong_token_or_no_router_is_not_running(self, router: Router, short_dir: Path) -> None:
        project = project_in(short_dir)
        (short_dir / "calls.token").write_text("wrong")
        transport = RemoteTransport(project)
        with pytest.raises(NotRunning, match="token"):
            await call(transport, "echo")
        transport.close()
        transport.close()
        nowhere = RemoteTransport(project_in(short_dir / "empty"))
        with pytest.raises(NotRunning, match="no socket for handles"):
            await call(nowhere, "echo")
        nowhere.close()
