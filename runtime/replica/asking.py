"""User code asks for a model: ``await get_model("3")`` becomes ``Asked``, and ``Give`` or ``Deny`` its answer."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from runtime.core.events import AskCancelled, Asked, Deny, Give, Key
from runtime.replica.work import Work, current_work

if TYPE_CHECKING:
    from runtime.replica.host import Host


class _Waiter:
    """One call of a loader that waits for its model."""

    __slots__ = ("answered", "error", "future", "key", "model", "work")

    def __init__(self, key: Key, work: Work | None) -> None:
        self.key = key
        self.work = work
        self.future: asyncio.Future[None] | None = None  # only if it was not answered at once
        self.answered = False
        self.model: object = None
        self.error: Exception | None = None


class Asking:
    """The waiters of one replica. A hit is answered without a future or a turn of the loop."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._waiters: dict[int, _Waiter] = {}
        self._numbers = itertools.count(1)

    async def ask(self, cache: int, model_id: str, owner: object | None) -> object:
        """Return the resident model, leased to the current request. May be called from any thread's event loop."""
        if asyncio.get_running_loop() is self._host.loop:
            return await self._ask(Key(cache, model_id), owner)
        there = asyncio.run_coroutine_threadsafe(self._ask(Key(cache, model_id), owner), self._host.loop)
        return await asyncio.wrap_future(there)

    async def _ask(self, key: Key, owner: object | None) -> object:
        work = current_work.get()
        if work is not None and work.ended:
            work = None  # a task that outlived its request: it can have the model, but holds no lease
        waiter = _Waiter(key, work)
        number = next(self._numbers)
        self._waiters[number] = waiter
        models = self._host.models
        if key not in models.objects:
            models.asked(key, owner, work.context if work else None)
        asked_at = self._host.now()
        self._host.apply(Asked(number, work.key if work else None, key))
        if not waiter.answered:
            await self._wait(number, waiter)
            if work is not None:
                work.wait_ms += round((self._host.now() - asked_at) * 1000, 1)
        if waiter.error is not None:
            raise waiter.error
        return waiter.model

    async def _wait(self, number: int, waiter: _Waiter) -> None:
        waiter.future = self._host.loop.create_future()
        try:
            await waiter.future
        except asyncio.CancelledError:
            if self._waiters.pop(number, None) is not None:
                self._host.apply(AskCancelled(number))
            raise

    # --- effects ------------------------------------------------------------------------------------------

    def give(self, effect: Give) -> None:
        waiter = self._waiters.pop(effect.waiter, None)
        if waiter is None:
            return  # cancelled a moment ago
        work = waiter.work
        self._host.journal.note_request(effect, effect.key.model, work.context.request_id if work else "")
        waiter.model = self._host.models.objects[effect.key]
        if work is not None:
            work.note_model(effect.hit, self._host.models.load_s.get(effect.key, 0.0))
        self._answer(waiter)

    def deny(self, effect: Deny) -> None:
        waiter = self._waiters.pop(effect.waiter, None)
        if waiter is not None:
            self._host.journal.note(effect, waiter.key.model, waiter.work.context.request_id if waiter.work else "")
            waiter.error = self._host.models.error(waiter.key, effect.failure)
            self._answer(waiter)

    def _answer(self, waiter: _Waiter) -> None:
        waiter.answered = True
        if waiter.future is not None and not waiter.future.done():
            waiter.future.set_result(None)
