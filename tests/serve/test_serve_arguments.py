"""Arguments are what they were at ``.remote()``, wherever the call is made and however large they are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from runtime import serve
from runtime.serve.codec import Encoded
from runtime.serve.context import Call
from runtime.serve.handle import DeploymentHandle
from tests.serve.fakes import FakeTransport

numpy = pytest.importorskip("numpy")

COUNT = 4
SIZES = (10, 60_000, 2_000_000)  # bytes: within the pickle, as body, through shared memory
Given = dict[str, Any]


def given(size: int) -> tuple[Given, Callable[[int], None]]:
    """Return an argument, and how to change all of it."""
    argument: Given = {"number": -1, "array": numpy.zeros(size, dtype="u1")}

    def change(number: int) -> None:
        argument["number"] = number
        argument["array"][:] = number

    return argument, change


def told(argument: Given, other: int = 0) -> tuple[int, set[int], int]:
    return argument["number"], set(argument["array"].tolist()), other


EXPECTED = [(number, {number}, 7) for number in range(COUNT)]


@serve.deployment
class Callee:
    def seven(self) -> int:
        return 7

    async def accept(self, argument: OnlyThere, other: int) -> int:
        return other

    def tell(self, argument: Given, other: int) -> tuple[int, set[int], int]:
        argument["array"] += 0  # it is the callee's own, to write to
        return told(argument, other)

    async def stream(self, argument: Given, other: int) -> AsyncIterator[tuple[int, set[int], int]]:
        yield told(argument, other)


@serve.deployment
class Caller:
    def __init__(self, callee: DeploymentHandle) -> None:
        self.callee = callee

    async def awaiting(self, size: int) -> list[Any]:
        argument, change = given(size)
        responses = []
        for number in range(COUNT):
            change(number)
            responses.append(self.callee.tell.remote(argument, 7))
        change(99)
        return [await response for response in responses]

    async def streaming(self, size: int) -> list[Any]:
        argument, change = given(size)
        handle, responses = self.callee.options(stream=True), []
        for number in range(COUNT):
            change(number)
            responses.append(handle.stream.remote(argument, 7))
        change(99)
        return [item for response in responses async for item in response]

    async def chaining(self, size: int) -> list[Any]:
        """Beside a response, whose value comes later."""
        argument, change = given(size)
        responses = []
        for number in range(COUNT):
            change(number)
            responses.append(self.callee.tell.remote(argument, other=self.callee.seven.remote()))
        change(99)
        return [await response for response in responses]

    def blocking(self, size: int) -> list[Any]:
        """In a thread."""
        argument, change = given(size)
        responses = []
        for number in range(COUNT):
            change(number)
            responses.append(self.callee.tell.remote(argument, 7))
        change(99)
        return [response.result(timeout_s=20) for response in responses]


@pytest.fixture(scope="module")
def caller() -> Iterator[DeploymentHandle]:
    with serve.testing.client(Caller.bind(Callee.bind())) as client:
        yield client.handle


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["awaiting", "streaming", "chaining", "blocking"])
def test_they_are_what_they_were_at_remote(caller: DeploymentHandle, how: str, size: int) -> None:
    assert caller.options(method_name=how).remote(size).result(timeout_s=30) == EXPECTED


class OnlyThere:
    """Refuses to be rebuilt in the thread that pickled it."""

    def __init__(self, thread: int) -> None:
        self.thread = thread

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuilt, (threading.get_ident(),)


def rebuilt(thread: int) -> OnlyThere:
    assert threading.get_ident() != thread, "rebuilt where it came from"
    return OnlyThere(thread)


@pytest.mark.parametrize("beside", [1, None])
def test_they_are_rebuilt_at_the_receiver_alone(caller: DeploymentHandle, beside: int | None) -> None:
    """Also beside a response: what was pickled early is not unpickled when its value comes."""
    seven = DeploymentHandle("Callee", transport=caller._transport).seven
    accept = DeploymentHandle("Callee", transport=caller._transport).accept
    assert accept.remote(OnlyThere(0), other=beside or seven.remote()).result(timeout_s=20) == (beside or 7)


def test_a_class_of_the_callers_main_is_named_as_the_reason(caller: DeploymentHandle) -> None:
    transport = caller._transport
    assert transport is not None
    call = Call("Callee", "tell", "", Encoded(b"c__main__\nOnlyInTheScript\n.", []))
    with pytest.raises(TypeError, match=r"Callee\.tell hold something of the caller's __main__") as caught:
        asyncio.run_coroutine_threadsafe(transport.call(call), transport.loop).result(timeout=20)
    assert "OnlyInTheScript" in str(caught.value.__cause__)


@pytest.mark.anyio
@pytest.mark.parametrize("size", SIZES)
async def test_also_while_no_link_is_there_yet(size: int) -> None:
    connected = asyncio.Event()

    async def tell(argument: Given, other: int) -> tuple[int, set[int], int]:
        await connected.wait()
        return told(argument, other)

    handle = DeploymentHandle("Callee", transport=Connecting(connected, {("Callee", "tell"): tell}))
    argument, change = given(size)
    responses = []
    for number in range(COUNT):
        change(number)
        responses.append(handle.tell.remote(argument, 7))
    change(99)
    connected.set()
    assert [await response for response in responses] == EXPECTED


class Connecting(FakeTransport):
    """One whose link takes a while."""

    def __init__(self, connected: asyncio.Event, methods: Any) -> None:
        super().__init__(methods)
        self._connected = connected

    async def call(self, call: Call) -> object:
        await self._connected.wait()
        return await super().call(call)
