"""What an operator asks of a replica, through the supervisor or a router: its state, its models, its reasons."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final

from runtime.core.events import Key, PinChanged, Preload, UnloadAsked
from runtime.core.slots import Entry
from runtime.errors import BadRequest, NoSuchThing
from runtime.observe import events
from runtime.replica.host import Host

UNLOAD_WAIT_S: Final = 60.0


class Questions:
    """Answers each question with something JSON can hold. Raises ``MuxError`` for one that cannot be answered."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._answers: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "status": self._status,
            "models": self._models,
            "load": self._load,
            "unload": self._unload,
            "pin": self._pin,
            "unpin": self._unpin,
            "explain": self._explain,
            "stacks": self._stacks,
        }

    async def answer(self, what: str, args: dict[str, Any]) -> Any:
        ask = self._answers.get(what)
        if ask is None:
            raise NoSuchThing(f"a replica has no answer to {what!r}; it knows {', '.join(self._answers)}")
        return await ask(args)

    # --- reading ------------------------------------------------------------------------------------------

    async def _status(self, args: dict[str, Any]) -> dict[str, Any]:
        host = self._host
        slots = host.limits.slots
        return {
            "in_flight": len(host.works),
            "queued": 0,  # requests wait in the routers
            "models": [key.model for key in host.models.objects],
            "slots": -1 if -1 in slots else sum(slots),
            "busy": host.models.busy,
            "threads": host.executor.unfinished,
        }

    async def _models(self, args: dict[str, Any]) -> dict[str, Any]:
        wanted = args.get("models")
        return {"models": [info for info in self._infos() if wanted is None or info["model"] in wanted]}

    def _infos(self) -> list[dict[str, Any]]:
        host, now = self._host, self._host.now()
        infos = []
        for key, status, leases, pinned in host.residency.models():
            entry = host.residency.state.entry(key)
            infos.append({
                "model": key.model,
                "deployment": host.deployment,
                "replica": host.name,
                "state": status.state,
                "pinned": pinned,
                "leases": leases,
                "uses": entry.past.uses if entry else 0,
                "load_s": round(status.load_s, 6),
                "size_bytes": status.size_bytes,
                "idle_s": _idle_s(entry, now) if entry else None,
            })  # fmt: skip
        return infos

    async def _explain(self, args: dict[str, Any]) -> dict[str, Any]:
        records = self._host.journal.records(
            request_id=str(args.get("request_id", "")), model=str(args.get("model", ""))
        )
        return {"lines": [record["line"] for record in records], "records": records}

    async def _stacks(self, args: dict[str, Any]) -> dict[str, str]:
        """Return where every thread and every running request stands."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        stacks = {
            f"thread {names.get(ident, ident)}": "".join(traceback.format_stack(frame))
            for ident, frame in sys._current_frames().items()
        }
        for work in self._host.works.values():
            if work.task is not None:
                frames = work.task.get_stack()
                places = [f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}" for frame in frames]
                stacks[f"request {work.context.request_id}"] = "\n".join(places)
        return stacks

    # --- changing -----------------------------------------------------------------------------------------

    async def _load(self, args: dict[str, Any]) -> dict[str, Any]:
        """Load models and wait for them. Raises what their loader raised."""
        cache = self._only_cache()
        models = _named(args)
        for model in models:
            self._host.apply(Preload(Key(cache, model)))
        await asyncio.gather(*(self._host.asking.ask(cache, model, None) for model in models))
        return await self._models({"models": models})

    async def _unload(self, args: dict[str, Any]) -> dict[str, Any]:
        """Unload models once their requests have ended; wait for that within a bound."""
        models = _named(args)
        before = [info for info in self._infos() if info["model"] in models]
        keys = [key for model in models for key in self._keys(model)]
        for key in keys:
            self._host.apply(UnloadAsked(key))

        def gone() -> bool:
            return not any(key in keys for key, *_ in self._host.residency.models())

        await self._host.until(gone, UNLOAD_WAIT_S)
        after = {info["model"]: info["state"] for info in self._infos()}
        gone_now = ({**info, "state": after.get(info["model"], "absent"), "pinned": False} for info in before)
        return {"models": list(gone_now)}

    async def _pin(self, args: dict[str, Any]) -> dict[str, Any]:
        """Pin models, loading those that are not here. Refuses to pin every slot."""
        cache = self._only_cache()
        cap = self._host.limits.slots[cache]
        models = _named(args)
        pinned = {info["model"] for info in self._infos() if info["pinned"]}
        if cap >= 0 and len(pinned.union(models)) >= cap:
            raise BadRequest(
                f"{len(pinned.union(models))} pinned models would leave no slot of {cap} for any other",
                hint="raise max_num_models_per_replica, or unpin one",
            )
        for model in models:
            self._host.apply(PinChanged(Key(cache, model), True))
            self._log_pin(model, events.MODEL_PINNED, "Pinned")
        return await self._load(args)

    async def _unpin(self, args: dict[str, Any]) -> dict[str, Any]:
        models = _named(args)
        for model in models:
            for key in self._keys(model):
                self._host.apply(PinChanged(key, False))
            self._log_pin(model, events.MODEL_UNPINNED, "Unpinned")
        return await self._models({"models": models})

    def _log_pin(self, model: str, event: str, verb: str) -> None:
        self._host.writer.event(f"{verb} model {model!r}.", event=event, model=model)

    def _keys(self, model: str) -> list[Key]:
        return [Key(cache, model) for cache in range(len(self._host.limits.slots))]

    def _only_cache(self) -> int:
        caches = len(self._host.limits.slots)
        if caches != 1:
            raise BadRequest(
                f"{self._host.deployment} has {caches} multiplexed loaders: mux cannot tell which one loads the model"
            )
        return 0


def _idle_s(entry: Entry, now: float) -> float | None:
    """Return for how long a resident model has not been used; None for one in use or on its way in or out."""
    if entry.state != "resident" or entry.leases:
        return None
    return round(max(0.0, now - max(entry.loaded_at, entry.idle_since)), 3)


def _named(args: dict[str, Any]) -> list[str]:
    models = args.get("models") or ([args["model"]] if args.get("model") else [])
    if not models:
        raise BadRequest("no model was named")
    return [str(model) for model in models]
