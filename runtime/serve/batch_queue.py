"""The queues of one ``@serve.batch`` function: one for each model id, so that a batch is of one model by birth."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Sized
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from typing import Any, Final

from runtime.serve.context import OpenCalls, RequestContext, batch_members, request_context

Run = Callable[[Sequence[tuple[Any, ...]]], Any]  # the members' arguments in; an awaitable, or an async generator, out

PASSED_OVER_AT_MOST: Final = 2  # how often full batches may go before one whose time has come
_NOT_YET: Final = float("-inf")  # a time at which no wait is over
_ENDED: Final = object()  # a stream's end, in its queue of items


@dataclass(slots=True)
class BatchSettings:
    """When a batch starts: it is full, or its oldest member has waited long enough."""

    max_batch_size: int
    batch_wait_timeout_s: float
    max_concurrent_batches: int
    batch_size_fn: Callable[[list[Any]], int] | None = None


@dataclass(slots=True, eq=False)
class Member:
    """One caller in a batch. ``items`` instead of ``answer`` where the function streams."""

    run: Run
    arguments: tuple[Any, ...]
    context: Context
    request: RequestContext | None
    arrived: float
    answer: asyncio.Future[Any]
    items: asyncio.Queue[Any] | None = None
    gone: bool = False  # it was cancelled, or its stream was closed


@dataclass(slots=True, eq=False)
class _Batch:
    members: list[Member]
    calls: OpenCalls
    task: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Stop the work if nobody is left to take its result."""
        if self.task is not None and all(member.gone for member in self.members):
            self.calls.cancel()
            self.task.cancel()


@dataclass(slots=True, eq=False)
class _ModelQueue:
    waiting: deque[Member] = field(default_factory=deque)
    passed_over: int = 0


class BatchQueue:
    """Members wait per model id; at most ``max_concurrent_batches`` batches run, of whatever models."""

    def __init__(self, name: str, settings: BatchSettings) -> None:
        self.settings = settings
        self._name = name
        self._queues: dict[str, _ModelQueue] = {}  # only models with waiting members
        self._running: dict[_Batch, None] = {}
        self._where: dict[Member, _Batch] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def one(self, run: Run, arguments: tuple[Any, ...]) -> Any:
        """Wait in a batch and return this member's result, or raise what the batch raised."""
        member = self._enter(run, arguments, None)
        try:
            return await member.answer
        except asyncio.CancelledError:
            self._leave(member)
            raise

    async def many(self, run: Run, arguments: tuple[Any, ...]) -> AsyncIterator[Any]:
        """Wait in a batch and yield this member's items."""
        items: asyncio.Queue[Any] = asyncio.Queue()
        member = self._enter(run, arguments, items)
        try:
            while (item := await items.get()) is not _ENDED:
                yield item
            await member.answer
        finally:
            if member.answer.done():
                member.gone = True
            else:
                self._leave(member)

    def _enter(self, run: Run, arguments: tuple[Any, ...], items: asyncio.Queue[Any] | None) -> Member:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a new loop, in tests: whoever waited on the old one went with it
            self._queues, self._running, self._where = {}, {}, {}
            self._loop, self._timer = loop, None
        request = request_context.get()
        member = Member(run, arguments, copy_context(), request, loop.time(), loop.create_future(), items)
        member.answer.add_done_callback(_seen)
        model = request.model_id if request is not None else ""
        self._queues.setdefault(model, _ModelQueue()).waiting.append(member)
        self._start_ready(_NOT_YET)  # even without a wait, whoever comes in this turn of the loop comes along
        return member

    def _leave(self, member: Member) -> None:
        member.gone = True
        batch = self._where.get(member)
        if batch is not None:
            batch.leave()
            return
        for model, queue in list(self._queues.items()):
            if member in queue.waiting:
                queue.waiting.remove(member)
                if not queue.waiting:
                    del self._queues[model]

    def _start_ready(self, now: float) -> None:
        """Start batches while some are ready and there is room; wake again when the next one's time comes."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queues and len(self._running) < self.settings.max_concurrent_batches:
            model = self._next_model(now)
            if model is None:
                oldest = min(queue.waiting[0].arrived for queue in self._queues.values())
                due = oldest + self.settings.batch_wait_timeout_s
                self._timer = loop.call_at(due, self._start_due, due)
                return
            self._start(self._take(model))

    def _start_due(self, due: float) -> None:
        """Start what is due; the loop's clock may ring a little early."""
        self._start_ready(max(due, asyncio.get_running_loop().time()))

    def _next_model(self, now: float) -> str | None:
        """Return the model whose batch goes next: full ones first, but nobody is passed over for ever."""
        full: list[tuple[float, str]] = []
        due: list[tuple[float, str]] = []
        for model, queue in self._queues.items():
            head = queue.waiting[0].arrived
            if self._is_full(queue.waiting):
                full.append((head, model))
            elif now >= head + self.settings.batch_wait_timeout_s:
                due.append((head, model))
        late = [entry for entry in due if self._queues[entry[1]].passed_over >= PASSED_OVER_AT_MOST]
        ready = late or full or due
        if not ready:
            return None
        chosen = min(ready)[1]
        for _, model in due:
            self._queues[model].passed_over += model != chosen
        return chosen

    def _is_full(self, waiting: deque[Member]) -> bool:
        size_fn = self.settings.batch_size_fn
        if size_fn is None:
            return len(waiting) >= self.settings.max_batch_size
        return size_fn([_item(member) for member in waiting]) >= self.settings.max_batch_size

    def _take(self, model: str) -> list[Member]:
        """Take the next batch off a model's queue; a member that is too large for any goes alone."""
        queue = self._queues[model]
        size_fn, most = self.settings.batch_size_fn, self.settings.max_batch_size
        taken = [queue.waiting.popleft()]
        while queue.waiting:
            size = len(taken) + 1 if size_fn is None else size_fn([_item(m) for m in (*taken, queue.waiting[0])])
            if size > most:
                break
            taken.append(queue.waiting.popleft())
        queue.passed_over = 0
        if not queue.waiting:
            del self._queues[model]
        return taken

    def _start(self, members: list[Member]) -> None:
        batch = _Batch(members, OpenCalls())
        context = members[0].context.copy()
        context.run(batch_members.set, _LiveContexts(members))
        request = members[0].request
        if request is not None:
            context.run(request_context.set, replace(request, calls=batch.calls, deadline=_deadline(members)))
        self._running[batch] = None
        for member in members:
            self._where[member] = batch
        batch.task = asyncio.get_running_loop().create_task(self._execute(batch), context=context)
        batch.task.add_done_callback(lambda task: self._ended(batch, task))

    async def _execute(self, batch: _Batch) -> None:
        try:
            await self._results(batch.members)
        except (SystemExit, KeyboardInterrupt) as exc:  # out of a task they would end the event loop
            raise RuntimeError(f"{self._name} raised {exc!r}") from exc

    async def _results(self, members: list[Member]) -> None:
        work = members[0].run([member.arguments for member in members])
        if members[0].items is None:
            results = self._checked(await _awaited(work), len(members))
            for member, result in zip(members, results, strict=True):
                _answer(member, result)
            return
        try:
            async for results in work:
                self._hand_out(members, self._checked(results, len(members)))
        finally:
            await work.aclose()

    def _hand_out(self, members: list[Member], results: Sequence[Any]) -> None:
        for member, result in zip(members, results, strict=True):
            if member.items is None or member.answer.done():
                continue
            if result is StopIteration or result is StopAsyncIteration:  # user code: this member's stream is over
                _answer(member, None)
            else:
                member.items.put_nowait(result)

    def _ended(self, batch: _Batch, task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        for member in batch.members:
            self._where.pop(member, None)
            if not member.answer.done():
                if task.cancelled():
                    member.answer.cancel()
                elif failure is not None:
                    member.answer.set_exception(failure)
                else:
                    member.answer.set_result(None)
                if member.items is not None:
                    member.items.put_nowait(_ENDED)
        self._running.pop(batch, None)
        if self._loop is task.get_loop():
            self._start_ready(self._loop.time())

    def _checked(self, results: Any, count: int) -> Sequence[Any]:
        """Return ``results`` if there is one for each member. Raises ``TypeError`` or ``ValueError``."""
        if not isinstance(results, Sized) or isinstance(results, str | bytes | dict):
            raise TypeError(
                f"{self._name} must return a list with one result for each of its {count} inputs, "
                f"not {type(results).__name__}"
            )
        if len(results) != count:
            raise ValueError(
                f"{self._name} was given a batch of {count} but returned {len(results)} results: "
                "return one for each input, in the same order"
            )
        return results  # type: ignore[return-value]  # sized and iterable: lists, arrays, tensors


class _LiveContexts(Sequence[Context]):
    """The contexts of a batch's members that are still there, looked up when they are asked for."""

    def __init__(self, members: list[Member]) -> None:
        self._members = members

    def _live(self) -> list[Context]:
        return [member.context for member in self._members if not member.gone]

    def __getitem__(self, index: Any) -> Any:
        return self._live()[index]

    def __len__(self) -> int:
        return len(self._live())


def _answer(member: Member, result: Any) -> None:
    if not member.answer.done():
        member.answer.set_result(result)
        if member.items is not None:
            member.items.put_nowait(_ENDED)


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


def _deadline(members: list[Member]) -> float | None:
    """Return when the last member's time is up; None if one of them has all the time."""
    latest = 0.0
    for member in members:
        if member.request is None or member.request.deadline is None:
            return None
        latest = max(latest, member.request.deadline)
    return latest


def _item(member: Member) -> Any:
    return member.arguments[0] if len(member.arguments) == 1 else member.arguments


def _seen(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()  # a member that has gone does not look
