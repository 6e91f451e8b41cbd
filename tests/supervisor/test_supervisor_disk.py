"""A disk that refuses the supervisor's own records: the children matter more, and so does the answer to a command."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.core.restart import RestartPolicy
from runtime.core.rollout import Slot
from runtime.engines.local import write_private
from runtime.errors import StartError
from runtime.project import Project, project_for
from runtime.supervisor.control import guarded
from runtime.supervisor.restarts import Restarts
from tests.supervisor.conftest import Apply, Running
from tests.supervisor.waiting import soon


def bug(name: str, error: BaseException) -> None:
    raise AssertionError(name) from error


@pytest.mark.process
@pytest.mark.anyio
async def test_records_that_cannot_be_written_stop_no_rollout_and_no_restart(
    running: Running, deploy: Apply, project: Project
) -> None:
    async with running() as supervisor:
        for path in (project.children_file, project.desired_file):
            (path / "in the way").mkdir(parents=True)
        told = [event async for event in guarded(supervisor.operations.apply(deploy()), bug)]
        assert told[-1].kind == "done"
        pool = supervisor.operations.pool
        process = pool.replicas()[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await soon(lambda: [one.phase for one in pool.replicas()] == ["ready"] and pool.alive[-1][1] is not process)
        for path in (project.children_file, project.desired_file):
            (path / "in the way").rmdir()
            path.rmdir()
    assert "could not be recorded" in next(project.log_dir("supervisor").glob("events-*")).read_text()


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(short_dir: Path) -> None:
    (short_dir / "taken" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError):
        write_private(short_dir / "taken", b"new")
    assert [path.name for path in short_dir.iterdir()] == ["taken"]


def test_state_that_cannot_be_written_is_an_error_of_the_start(short_dir: Path) -> None:
    env = {"MUX_HOME": "/dev/null/mux", "XDG_RUNTIME_DIR": str(short_dir)}
    with pytest.raises(StartError, match="cannot be written: Not a directory: /dev/null/mux"):
        project_for("shop", short_dir / "mux.yaml", env).create()


def test_a_slot_that_was_ready_is_tried_again_also_after_a_rollout_that_failed() -> None:
    old, new = Slot("Model", 0, "old"), Slot("Model", 0, "new")
    worker: Any = SimpleNamespace(slot=old, failure="it cannot start", restarts=0)
    restarts = Restarts(RestartPolicy, lambda: 0.0)
    restarts.aim([old])
    restarts.ready(worker)
    restarts.aim([new], held=[old])
    assert not restarts.wants(old)
    restarts.aim([old], held=[old])
    assert restarts.died(worker) is not None
    restarts.aim([new])
    restarts.aim([old])
    restarts.started(worker)
    assert restarts.died(worker) is None, "nobody held it: forgotten"
