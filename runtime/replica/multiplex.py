"""The models of this replica: performs what the residency decides, fetch, load and unload, and reports back.

Each of them is a task of its own, tied to no request, so that a client that leaves takes nobody's model along.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextvars import Context
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from runtime.core.events import (
    Failure,
    Fetched,
    FetchFailed,
    Key,
    Loaded,
    LoadFailed,
    ResidencyEvent,
    Unloaded,
    UnloadReason,
)  # fmt: skip
from runtime.errors import LoadTimeout, ModelNotFound, MuxError, by_code
from runtime.observe import events
from runtime.observe.logs import LogWriter
from runtime.replica.cleanup import Unloader, clean_up
from runtime.replica.files import ModelFiles
from runtime.replica.importer import describe, user_place, user_traceback
from runtime.replica.model_log import ModelLog
from runtime.replica.size import size_bytes
from runtime.serve.context import RequestContext, request_context
from runtime.serve.failures import twin_of

REMEMBERED_ERRORS: Final = 256
Progress = Callable[[str, str, float | None], None]  # (stage, sentence, fraction done)


def _silent(stage: str, message: str, fraction: float | None) -> None:
    """Tell nobody."""


class _Raised(NamedTuple):
    """What a loader raised, without its frames: they would keep the half-loaded model alive."""

    error: BaseException
    traceback: str
    code: str  # of the failure that it was reported as


class Loader(Protocol):
    """What the user's code is to this file."""

    unloader: Unloader | None

    async def load(self, key: Key, owner: object | None, path: Path | None) -> object:
        """Run the user's loader."""

    def loads_in_thread(self, key: Key) -> bool:
        """Whether the loader is sync: a thread cannot be stopped, so a late load is waited for, not cancelled."""


class Models:
    """The model objects, and the tasks that bring and remove them."""

    def __init__(
        self,
        loader: Loader,
        writer: LogWriter,
        report: Callable[[ResidencyEvent], None],
        clock: Callable[[], float],
        *,
        base: Context,
        load_timeout_s: float,
        files: ModelFiles | None = None,
        progress: Progress = _silent,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.objects: dict[Key, object] = {}  # loaded and not yet unloaded
        self.load_s: dict[Key, float] = {}  # of those
        self.load_timeout_s = load_timeout_s
        self._loader = loader
        self._report = report
        self._clock = clock
        self._base = base
        self._files = files
        self._progress = progress
        self._changed = changed  # told when a task has ended
        self._owners: dict[Key, object] = {}  # the object whose loader method was called, until the load is over
        self.log = ModelLog(writer)
        self._errors: OrderedDict[Key, _Raised] = OrderedDict()  # of the last load
        self._tasks: dict[asyncio.Task[None], Key] = {}

    def __repr__(self) -> str:
        return f"<Models resident={[key.model for key in self.objects]} busy={len(self._tasks)}>"

    @property
    def idle(self) -> bool:
        """Whether nothing is held and nothing is under way."""
        return not self.objects and not self._tasks

    @property
    def busy(self) -> int:
        """Loads, fetches and unloads under way."""
        return len(self._tasks)

    def asked(self, key: Key, owner: object | None, request: RequestContext | None) -> None:
        """Note who asks for a model that is not here: whose loader method it was, and for the log which request."""
        if owner is not None:
            self._owners.setdefault(key, owner)
        if request is not None:
            self.log.asked(key, request)

    def error(self, key: Key, failure: Failure) -> Exception:
        """Return what a denied waiter shall see: what the user's loader raised, else the error of that code."""
        raised = self._errors.get(key)
        if raised is not None and raised.code == failure.code and isinstance(raised.error, Exception):
            return twin_of(raised.error).with_traceback(None)  # each waiter's frames are added to what it raises
        return by_code(failure.code)(failure.message, retry_after_s=failure.retry_after_s)

    def traceback(self, key: Key) -> str:
        """Return the traceback of the last failed load of ``key``, from the user's file on; empty if none."""
        raised = self._errors.get(key)
        return raised.traceback if raised is not None else ""

    def close(self) -> None:
        """Release the files and end the store's threads."""
        if self._files is not None:
            self._files.close()

    # --- effects ------------------------------------------------------------------------------------------

    def fetch(self, key: Key) -> None:
        self.log.write(key, f"Fetching model {key.model!r}.", events.MODEL_FETCHING)
        self._start(key, self._fetch(key), "fetch")

    def load(self, key: Key) -> None:
        self.log.write(key, f"Loading model {key.model!r}.", events.MODEL_LOADING)
        self._progress("loading model", f"loading model {key.model!r}", None)
        self._start(key, self._load(key), "load")

    def unload(self, key: Key, why: UnloadReason, room_for: Key | None = None) -> None:
        self.log.write(key, f"Unloading model {key.model!r}.", events.MODEL_UNLOADING, asked_for=room_for, why=why)
        model = self.objects.pop(key, None)
        self.load_s.pop(key, None)
        self._start(key, self._unload(key, model), "unload")
        del model

    # --- tasks --------------------------------------------------------------------------------------------

    def _start(self, key: Key, coroutine: Coroutine[Any, Any, None], what: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{what} {key.model}", context=self._base.copy())
        self._tasks[task] = key
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        key = self._tasks.pop(task)
        self._changed()
        if not task.cancelled() and (exc := task.exception()) is not None:
            self.log.write(key, f"{task.get_name()} broke: {describe(exc)}", events.PROCESS_FAILED, "ERROR")
            raise exc

    async def _fetch(self, key: Key) -> None:
        assert self._files is not None, "the brain fetches only where there is a source"
        started = self._clock()
        try:
            file = await self._files.fetch(key)
        except Exception as exc:
            failure = _failure(exc, "store_failed", key.model)
            self._failed(key, exc, failure, f"Fetching model {key.model!r} failed", events.MODEL_FETCH_FAILED)
            self._report(FetchFailed(key, failure))
            return
        took = "from the cache" if file.from_cache else f"in {(self._clock() - started) * 1000:.0f} ms"
        message = f"Fetched model {key.model!r} {took}."
        level = "INFO"
        if file.warning:
            message, level = f"{message} {file.warning}", "WARNING"
        self.log.write(key, message, events.MODEL_FETCHED, level, size_bytes=file.size_bytes, warning=file.warning)
        self._report(Fetched(key, file.size_bytes))

    async def _load(self, key: Key) -> None:
        asker = self.log.asker(key)  # what the loader prints is told with the request that is told of the load
        request_context.set(RequestContext(asker.request_id, asker.route, key.model))
        started = self._clock()
        try:
            path = (await self._files.hold(key)).path if self._files is not None else None
            model = await self._run_loader(key, path)
            size = size_bytes(model, path)
        except BaseException as exc:
            if _is_ending(exc):
                raise
            self._release(key)
            failure = _failure(exc, "model_load_failed", key.model)
            self._failed(key, exc, failure, f"Loading model {key.model!r} failed", events.MODEL_LOAD_FAILED)
            self._report(LoadFailed(key, failure))
            return
        took = self._clock() - started
        self._errors.pop(key, None)
        self.objects[key] = model
        self.load_s[key] = took
        self.log.write(
            key,
            f"Loaded model {key.model!r} in {took * 1000:.0f} ms.",
            events.MODEL_LOADED,
            load_s=round(took, 6),
            size_bytes=size,
        )
        self._forget_asker(key)
        self._report(Loaded(key, size))

    async def _run_loader(self, key: Key, path: Path | None) -> object:
        owner = self._owners.get(key)
        if self._loader.loads_in_thread(key):
            return await self._loader.load(key, owner, path)
        try:
            async with asyncio.timeout(self.load_timeout_s) as limit:
                return await self._loader.load(key, owner, path)
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise LoadTimeout(f"loading model {key.model!r} took more than {self.load_timeout_s:g} s") from exc

    async def _unload(self, key: Key, model: object) -> None:
        started = self._clock()
        try:
            if model is not None:
                await clean_up(model, key.model, self._loader.unloader)
        except BaseException as exc:
            if _is_ending(exc):
                raise
            what = f"Unloading model {key.model!r}: its cleanup failed"
            self.log.write(key, f"{what}:\n{user_traceback(exc).rstrip()}", events.MODEL_UNLOAD_FAILED, "ERROR")
        self._release(key)
        took = self._clock() - started
        self.log.write(key, f"Unloaded model {key.model!r} in {took * 1000:.0f} ms.", events.MODEL_UNLOADED)
        del model  # before the slot counts as free
        self._report(Unloaded(key))

    # --- errors and logs ----------------------------------------------------------------------------------

    def _remember(self, key: Key, raised: _Raised) -> None:
        self._errors[key] = raised
        self._errors.move_to_end(key)
        while len(self._errors) > REMEMBERED_ERRORS:
            self._errors.popitem(last=False)

    def _failed(self, key: Key, exc: BaseException, failure: Failure, what: str, event: str) -> None:
        """Log a failure with the user's traceback, then let go of its frames: they hold the half-loaded model.

        That there is no such model is the mistake of who asked, and one line: anyone can make ids up by the thousand.
        """
        traceback = user_traceback(exc).rstrip()
        self._remember(key, _Raised(exc, traceback, failure.code))
        unknown = failure.code == ModelNotFound.code
        detail = f" {failure.message}" if unknown or isinstance(exc, MuxError) else f"\n{traceback}"
        file, line = user_place(exc)
        self.log.write(key, f"{what}:{detail}", event, "WARNING" if unknown else "ERROR", file=file, line=line)
        self._forget_asker(key)
        exc.__traceback__ = None
        for linked in (exc.__cause__, exc.__context__):
            if linked is not None:
                linked.__traceback__ = None

    def _release(self, key: Key) -> None:
        if self._files is not None:
            self._files.release(key)

    def _forget_asker(self, key: Key) -> None:
        self._owners.pop(key, None)
        self.log.forget(key)


def _is_ending(exc: BaseException) -> bool:
    """Return whether the task itself is being ended; user code may raise the same exceptions on its own."""
    task = asyncio.current_task()
    return task is None or (isinstance(exc, asyncio.CancelledError) and task.cancelling() > 0)


def _failure(exc: BaseException, code: str, model_id: str) -> Failure:
    """Return what is published. "No such model": a ``LookupError`` itself, a ``KeyError`` of the id, or no file."""
    if isinstance(exc, MuxError):
        return Failure(exc.code, exc.message, exc.retry_after_s)
    unknown = isinstance(exc, KeyError) and exc.args == (model_id,)  # MODELS[model_id]; any other key is a bug
    if unknown or type(exc) is LookupError or isinstance(exc, FileNotFoundError):
        return Failure(ModelNotFound.code, describe(exc))
    if isinstance(exc, asyncio.CancelledError):
        return Failure(code, "user code cancelled itself")
    return Failure(code, describe(exc))
