"""The real supervisor process, detached, with fake children."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.errors import NotRunning, StartError
from runtime.project import Project
from runtime.supervisor.api import DownRequest, ProjectStatus, ScaleRequest
from runtime.supervisor.client import ControlClient
from runtime.supervisor.failures import from_event
from runtime.supervisor.launch import ensure_supervisor
from runtime.supervisor.standby import Standby
from tests.supervisor.conftest import Apply, end_supervisor, last_of
from tests.supervisor.fake_supervisor import fake_supervisor
from tests.supervisor.waiting import await_end, until

pytestmark = pytest.mark.process


def pids(status: ProjectStatus) -> list[int]:
    return [one.pid for one in (*status.routers, *status.replicas) if one.pid is not None]


def test_deploy_status_and_down(client: ControlClient, project: Project, deploy: Apply) -> None:
    done = last_of(client.apply(deploy(replicas=2)))
    assert done.kind == "done"
    status = client.status()
    assert status.state == "ready"
    assert [one.state for one in status.replicas] == ["ready", "ready"]
    assert status.deployments[0].ready == 2
    assert status.deployments[0].queued == 2
    assert status.routers[0].requests == 7
    assert status.replicas[0].rss_bytes > 0
    for path in (project.control_socket, project.root / "calls.token", project.desired_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert all(stat.S_IMODE(spec.stat().st_mode) == 0o600 for spec in project.specs.iterdir())

    events = list(client.down(DownRequest()))
    assert events[-1].kind == "done"
    for pid in (*pids(status), status.pid):
        await_end(pid)
    assert list(project.specs.iterdir()) == []
    assert not project.sockets.exists()
    assert not project.supervisor_file.exists()
    with pytest.raises(NotRunning):
        client.status()


def test_a_first_deploy_that_cannot_start_leaves_nothing(
    client: ControlClient, project: Project, deploy: Apply
) -> None:
    supervisor = client.status().pid
    events = list(client.apply(deploy("fail", replicas=2)))
    error = from_event(events[-1])
    assert isinstance(error, StartError)
    assert "No module named 'torhc'" in error.message
    assert error.traceback.startswith('File "app.py", line 3')
    assert any(one.kind == "progress" and one.fraction == 0.5 for one in events)
    await_end(supervisor)
    assert not project.control_socket.exists()
    assert not project.desired_file.exists()


def test_a_killed_supervisor_leaves_no_children_and_has_a_successor(
    client: ControlClient, project: Project, env: dict[str, str], deploy: Apply
) -> None:
    list(client.apply(deploy(replicas=2)))
    before = client.status()
    os.kill(before.pid, signal.SIGKILL)
    for pid in pids(before):
        await_end(pid)
    with pytest.raises(NotRunning):
        client.status()
    again = fake_supervisor(project, env)
    assert last_of(again.apply(deploy(replicas=2))).kind == "done"
    after = again.status()
    assert after.generation > before.generation
    assert not set(pids(after)) & set(pids(before))


def test_a_successor_ends_children_that_cling_to_life(
    client: ControlClient, project: Project, env: dict[str, str], deploy: Apply
) -> None:
    list(client.apply(deploy("stubborn")))
    before = client.status()
    os.kill(before.pid, signal.SIGKILL)
    await_end(before.pid)
    again = fake_supervisor(project, env)
    assert last_of(again.apply(deploy())).kind == "done"
    for pid in pids(before):
        await_end(pid)


def test_two_that_start_at_once_share_one_supervisor(project: Project, env: dict[str, str], deploy: Apply) -> None:
    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(fake_supervisor, project, env) for _ in range(3)]
        clients = [future.result() for future in futures]
    try:
        assert len({one.status().pid for one in clients}) == 1
        with ThreadPoolExecutor(3) as threads:
            ends = [threads.submit(lambda c: last_of(c.apply(deploy())), one) for one in clients]
            assert [end.result().kind for end in ends] == ["done"] * 3
        assert clients[0].status().generation == 1
    finally:
        end_supervisor(project)


def test_a_supervisor_that_cannot_start_shows_its_output(project: Project, env: dict[str, str]) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    with Standby(project.config_path, env, broken) as standby, pytest.raises(StartError) as caught:
        ensure_supervisor(project, env, standby)
    assert "no such thing" in caught.value.traceback


def test_a_supervisor_that_cannot_start_later_shows_its_output_too(project: Project, env: dict[str, str]) -> None:
    project.record_file.write_text("{")
    with Standby(project.config_path, env) as standby, pytest.raises(StartError) as caught:
        standby.begin(project)
    assert "DecodeError" in caught.value.traceback


def test_a_standby_that_is_told_nothing_ends(project: Project, env: dict[str, str]) -> None:
    with Standby(project.config_path, env) as standby:
        pid = standby.pid
    await_end(pid)
    assert not project.supervisor_file.exists()


def test_a_standby_ends_when_its_starter_is_killed(project: Project, env: dict[str, str]) -> None:
    code = f"""
import os, signal
from runtime.supervisor.standby import Standby
print(Standby({str(project.config_path)!r}, os.environ).pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    starter = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, check=False)
    assert starter.returncode == -signal.SIGKILL
    await_end(int(starter.stdout))


def test_a_port_in_use_is_said_before_anything_starts(client: ControlClient, deploy: Apply) -> None:
    supervisor = client.status().pid
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as another project of this user would
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        events = list(client.apply(deploy(http={"port": port})))
    assert [one.kind for one in events] == ["plan", "failed"]
    assert events[-1].code == "port_in_use"
    assert f"127.0.0.1:{port} is in use by" in events[-1].message
    assert str(os.getpid()) in events[-1].message
    await_end(supervisor)


def test_sigterm_drains_and_leaves_nothing(client: ControlClient, project: Project, deploy: Apply) -> None:
    list(client.apply(deploy(replicas=2)))
    status = client.status()
    os.kill(status.pid, signal.SIGTERM)
    for pid in (*pids(status), status.pid):
        await_end(pid)
    assert not project.sockets.exists()
    log = "".join(path.read_text() for path in project.log_dir("supervisor").glob("events-*"))
    assert log.count("has drained and stopped") == 3
    assert "The supervisor has stopped." in log


def test_a_killed_router_loses_no_waiting_connection(client: ControlClient, deploy: Apply) -> None:
    list(client.apply(deploy()))
    status = client.status()
    old = status.routers[0].pid
    assert old is not None
    os.kill(old, signal.SIGSTOP)  # it accepts no more, so that the connection waits in the backlog
    port = int(status.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as waiting:
        os.kill(old, signal.SIGKILL)
        answer = waiting.recv(64)
    assert int(answer) not in (old, 0)


def test_several_routers_share_the_port(client: ControlClient, deploy: Apply) -> None:
    assert last_of(client.apply(deploy(http={"port": 0, "routers": 2}))).kind == "done"
    status = client.status()
    port = int(status.url.rpartition(":")[2])
    seen: set[int] = set()

    def both_answer() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            seen.add(int(connection.recv(64)))
        return len(seen) == 2

    until(both_answer, "an answer of both routers")
    assert seen == {one.pid for one in status.routers}


def test_a_refusal_before_any_event_is_an_error(client: ControlClient, deploy: Apply) -> None:
    failed = last_of(client.scale(ScaleRequest(replicas={"Model": 2})))
    assert failed.code == "not_running"


def test_a_client_that_leaves_ends_neither_the_deploy_nor_the_next_one(client: ControlClient, deploy: Apply) -> None:
    leaving = client.apply(deploy("hang"))
    assert next(leaving).kind == "plan"
    leaving.close()
    assert client.status().replicas[0].state == "starting"
    assert last_of(client.apply(deploy(max_ongoing_requests=6))).kind == "done"


def test_bad_requests_are_refused_with_a_sentence(client: ControlClient, deploy: Apply) -> None:
    request = deploy()
    request.config["deployments"][0]["num_replica"] = 3
    failed = last_of(client.apply(request))
    assert failed.code == "bad_config"
    assert "num_replica" in failed.message


def test_foreground_drains_on_ctrl_c_and_ends_well(project: Project, env: dict[str, str]) -> None:
    script = Path(__file__).parent / "fake_foreground.py"
    arguments = [sys.executable, str(script), str(project.root), str(project.sockets)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=env, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("done"):
                break
        status = ControlClient(project).status()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == 0
    for pid in pids(status):
        await_end(pid)
