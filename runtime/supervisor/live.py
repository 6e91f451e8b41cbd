"""What running replicas are given without a restart: a new user_config, and the pins made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from runtime.errors import MuxError
from runtime.supervisor.chronicle import Chronicle
from runtime.supervisor.desired import Desired
from runtime.supervisor.questions import change_models, reconfigured
from runtime.supervisor.tasks import TaskSet
from runtime.supervisor.worker import Worker

PIN_MARGIN_S: Final = 10.0


class LiveSettings:
    """``on_change`` is called when a replica has taken, or refused, what it was given.

    ``pins`` are by deployment, in the order in which they were made: a new replica gets them when it is ready.
    """

    def __init__(self, tasks: TaskSet, chronicle: Chronicle, on_change: Callable[[], None]) -> None:
        self.pins: dict[str, dict[str, None]] = {}
        self._tasks = tasks
        self._chronicle = chronicle
        self._on_change = on_change

    def pin(self, deployment: str, models: Iterable[str]) -> None:
        """Remember pins for the replicas to come."""
        self.pins.setdefault(deployment, {}).update(dict.fromkeys(models))

    def unpin(self, deployment: str, models: Iterable[str]) -> None:
        """Forget pins."""
        for model in models:
            self.pins.get(deployment, {}).pop(model, None)

    def ready(self, worker: Worker) -> None:
        """Give a new replica what was pinned by hand."""
        pinned = self.pins.get(worker.slot.deployment)
        if worker.role == "replica" and pinned:
            self._tasks.start(self._pin(worker, list(pinned)), f"pin in {worker.name}")

    async def _pin(self, worker: Worker, models: list[str]) -> None:
        limit_s = float(worker.spec.deployment["load_timeout_s"]) + PIN_MARGIN_S
        try:
            await change_models([worker], "pin", {"models": models}, limit_s)
        except MuxError as exc:
            self._chronicle.note(f"What was pinned by hand is not pinned in {worker.name}: {exc.message}")

    def hand_over(self, desired: Desired, worker: Worker) -> None:
        """Give a ready replica of the desired revision its deployment's latest config, if it has another."""
        config = desired.by_name.get(worker.slot.deployment)
        if config is None or worker.slot.revision != desired.revisions[config.name]:
            return
        fresh = config.to_spec()
        if fresh["user_config"] != worker.spec.deployment["user_config"]:
            worker.config_accepted, worker.refusal = False, ""
            self._tasks.start(self._reconfigure(worker, fresh), f"reconfigure {worker.name}")
        worker.spec.deployment = fresh

    async def _reconfigure(self, worker: Worker, config: dict[str, Any]) -> None:
        refusal = await reconfigured(worker, config)
        if config["user_config"] == worker.spec.deployment["user_config"]:  # else a later one is on its way
            worker.config_accepted, worker.refusal = not refusal, refusal
            self._on_change()
