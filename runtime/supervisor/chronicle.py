"""The life of the children, told in sentences: to those who follow a command, and to the log."""

from __future__ import annotations

import traceback

from runtime.link.control import Progress
from runtime.observe import events
from runtime.supervisor.api import Event
from runtime.supervisor.desired import ROUTERS
from runtime.supervisor.journal import Journal
from runtime.supervisor.worker import Worker


class Chronicle:
    """One method for each thing that happens to a child."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def _tell(self, kind: str, worker: Worker, what: str, name: str = "", level: str = "INFO") -> None:
        slot = worker.slot
        deployment = "" if slot.deployment == ROUTERS else slot.deployment
        event = Event(kind=kind, message=f"{worker.name} {what}", process=worker.name, deployment=deployment)
        self.journal.tell(event, name, level, child=worker.name, pid=worker.process.pid if worker.process else 0)

    def started(self, worker: Worker) -> None:
        self._tell("start", worker, "is starting", events.CHILD_STARTED)

    def progressed(self, worker: Worker, progress: Progress) -> None:
        deployment = "" if worker.slot.deployment == ROUTERS else worker.slot.deployment
        self.journal.tell(
            Event(
                kind="progress",
                message=progress.message,
                process=worker.name,
                deployment=deployment,
                fraction=progress.fraction,
            )
        )

    def ready(self, worker: Worker) -> None:
        self._tell("ready", worker, "is ready", events.CHILD_READY)

    def draining(self, worker: Worker) -> None:
        self._tell("stop", worker, "is draining", events.PROCESS_DRAINING)

    def stopped(self, worker: Worker) -> None:
        if worker.exit_code == 0:
            self._tell("stopped", worker, "has drained and stopped", events.CHILD_EXITED)
        else:
            self._tell("stopped", worker, f"has stopped ({worker.obituary()})", events.CHILD_EXITED)

    def died(self, worker: Worker, delay_s: float) -> None:
        self._tell("warn", worker, worker.obituary(), events.CHILD_EXITED, "WARNING")
        self._tell("restart", worker, f"is started again in {delay_s:g} s", events.CHILD_RESTARTING)

    def gave_up(self, worker: Worker) -> None:
        what = f"{worker.obituary()}; it is not started again"
        self._tell("warn", worker, what, events.CHILD_FAILED, "ERROR")
        if worker.traceback and worker.failure is None:  # else its own log has the story already
            self.journal.log.event(worker.traceback, level="ERROR", event=events.CHILD_FAILED, child=worker.name)

    def unhealthy(self, worker: Worker, why: str) -> None:
        self._tell("warn", worker, f"{why}; it is replaced", events.CHILD_SUSPECT, "ERROR")

    def suspected(self, worker: Worker) -> None:
        what = "does not answer" if worker.suspect else "answers again"
        self._tell("warn", worker, what, events.CHILD_SUSPECT, "WARNING")

    def note(self, message: str) -> None:
        """Log a sentence that concerns nobody's command."""
        self.journal.log.event(message, level="WARNING")

    def task_failed(self, name: str, error: BaseException) -> None:
        """Log a fault of the supervisor itself."""
        story = "".join(traceback.format_exception(error))
        self.journal.log.event(f"the task {name!r} failed\n{story}", level="ERROR")
