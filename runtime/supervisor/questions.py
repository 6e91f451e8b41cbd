"""What the supervisor asks its children on behalf of others, and how their answers are put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from runtime.errors import LinkLost, NoSuchThing, RequestError, Unavailable
from runtime.link.control import Answer
from runtime.supervisor.api import ExplainAnswer, ModelInfo
from runtime.supervisor.failures import from_payload
from runtime.supervisor.worker import Worker

RESIDENTS_TIMEOUT_S: Final = 1.0
RECONFIGURE_TIMEOUT_S: Final = 60.0  # it runs user code

Shape = TypeVar("Shape")


class ReplicaFigures(msgspec.Struct):
    """The answer of a replica to ``status``."""

    in_flight: int = 0
    queued: int = 0
    slots: int = 0
    models: list[str] = []


class RouterFigures(msgspec.Struct):
    """The answer of a router to ``status``."""

    requests: int = 0
    queued: dict[str, int] = {}


class _Models(msgspec.Struct):
    models: list[ModelInfo] = []


class _Story(msgspec.Struct):
    lines: list[str] = []
    records: list[dict[str, Any]] = []


async def ask_all(
    workers: Sequence[Worker], what: str, args: dict[str, Any], timeout_s: float
) -> list[tuple[Worker, Answer]]:
    """Ask all at once; those that end or stay silent are left out."""
    results = await asyncio.gather(*(worker.ask(what, args, timeout_s) for worker in workers), return_exceptions=True)
    answers: list[tuple[Worker, Answer]] = []
    for worker, result in zip(workers, results, strict=True):
        if isinstance(result, Answer):
            answers.append((worker, result))
        elif not isinstance(result, LinkLost | TimeoutError):
            raise result
    return answers


async def residents_of(worker: Worker) -> list[str]:
    """Return the models that a replica holds; none if it does not say in time."""
    answers = await ask_all([worker], "status", {}, RESIDENTS_TIMEOUT_S)
    return [model for _, one in answers if one.ok for model in _read(one, ReplicaFigures).models]


async def reconfigured(worker: Worker, config: dict[str, Any]) -> tuple[str, str]:
    """Give a replica its new config; return what it said if it refused and the user's traceback, else nothing."""
    try:
        answer = await worker.reconfigure(config, RECONFIGURE_TIMEOUT_S)
    except TimeoutError:
        return f"did not take its new config within {RECONFIGURE_TIMEOUT_S:g} s", ""
    except LinkLost:  # its successor starts with the new config
        return "", ""
    if answer.ok:
        return "", ""
    traceback = answer.data.get("traceback", "") if isinstance(answer.data, dict) else ""
    return f"refused its new user_config: {answer.message}", str(traceback)


async def status_of(
    workers: Sequence[Worker], timeout_s: float
) -> tuple[dict[str, ReplicaFigures], dict[str, RouterFigures]]:
    """Return what replicas and routers say of themselves, by worker id."""
    answers = await ask_all([one for one in workers if one.alive], "status", {}, timeout_s)
    replicas = {one.id: _read(a, ReplicaFigures) for one, a in answers if a.ok and one.role == "replica"}
    routers = {one.id: _read(a, RouterFigures) for one, a in answers if a.ok and one.role == "router"}
    return replicas, routers


async def models_of(workers: Sequence[Worker], deployment: str, timeout_s: float) -> list[ModelInfo]:
    """Return every model that a replica holds or a router waits for."""
    answers = await ask_all(workers, "models", {"deployment": deployment}, timeout_s)
    found = [(worker.role, model) for worker, answer in answers for model in _models(answer)]
    held = sorted((model for role, model in found if role == "replica"), key=lambda one: one.replica)
    waiting: dict[tuple[str, str], ModelInfo] = {}
    for role, model in found:
        if role == "router" and model.waiting:
            key = (model.deployment, model.model)
            waiting.setdefault(key, msgspec.structs.replace(model, waiting=0)).waiting += model.waiting
    for one in held:  # what waits is shown beside its first holder, else in a line of its own
        outside = waiting.pop((one.deployment, one.model), None)
        one.waiting += outside.waiting if outside else 0
    return sorted([*held, *waiting.values()], key=lambda m: (m.deployment, m.model, m.replica))


async def change_models(
    workers: Sequence[Worker], verb: str, args: dict[str, Any], timeout_s: float
) -> list[ModelInfo]:
    """Have every one of ``workers`` load, unload, pin or unpin. Raises what the first that refuses says."""
    answers = await ask_all(workers, verb, args, timeout_s)
    if not answers:
        raise Unavailable(f"no replica answered to {verb!r}", hint="See `mux status`.")
    for worker, answer in answers:
        if not answer.ok:
            code = answer.data.get("error") if isinstance(answer.data, dict) else None
            message = f"{worker.name}: {answer.message}"
            raise from_payload({"error": code, "message": message}) if code else RequestError(message)
    return [model for _, answer in answers for model in _models(answer)]


async def explain(workers: Sequence[Worker], args: dict[str, Any], timeout_s: float) -> ExplainAnswer:
    """Return the story of a request or a model, in the order of its records. Raises NoSuchThing."""
    answers = await ask_all(workers, "explain", args, timeout_s)
    stories = [_read(answer, _Story) for _, answer in answers if answer.ok]
    now = time.time()
    records = sorted(
        ({"at": now - float(record.get("age_s", 0.0)), **record} for story in stories for record in story.records),
        key=lambda record: float(record["at"]),
    )
    told = all("line" in record for record in records)
    lines = [str(r["line"]) for r in records] if records and told else [x for s in stories for x in s.lines]
    if not lines and not records:
        request_id = args.get("request_id")
        subject = f"request '{request_id}'" if request_id else f"model '{args.get('model')}'"
        hint = "Only recent decisions are kept; `mux logs --grep` reaches further back."
        if request_id:
            hint += f" A model? `mux explain --model {request_id}`."
        raise NoSuchThing(f"Nothing is remembered of {subject}.", hint=hint)
    return ExplainAnswer(lines=lines, records=records)


def _models(answer: Answer) -> list[ModelInfo]:
    return _read(answer, _Models).models if answer.ok else []


def _read(answer: Answer, shape: type[Shape]) -> Shape:
    return msgspec.convert(answer.data or {}, shape)
