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
TOLD: Final = ("user_config", "health_check_timeout_s", "graceful_shutdown_timeout_s")  # what replicas use


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

    def hand_over(self, desired: Desired, worker: Worker) -> bool:
        """Give a ready replica of the desired revision its latest config; return whether it had another."""
        config = desired.by_name.get(worker.slot.deployment)
        if config is None or worker.slot.revision != desired.revisions[config.name]:
            return False
        old, fresh = worker.spec.deployment, config.to_spec()
        if fresh == old:
            return False
        worker.spec.deployment = fresh
        if _told(fresh) != _told(old):
            worker.config_accepted, worker.refusal = False, ""
            self._tasks.start(self._reconfigure(worker, fresh), f"reconfigure {worker.name}")
        return True

    async def _reconfigure(self, worker: Worker, config: dict[str, Any]) -> None:
        refusal, traceback = await reconfigured(worker, config)
        if _told(config) == _told(worker.spec.deployment):  # else a later one is on its way
            worker.config_accepted, worker.refusal, worker.traceback = not refusal, refusal, traceback
            self._on_change()


def _told(config: dict[str, Any]) -> list[tuple[object, bool]]:
    """Return what a running replica has to hear of its config: values, and which of them are written."""
    return [(config[key], key in config["written"]) for key in TOLD]
