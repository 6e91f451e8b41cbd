"""The supervisor's pieces that need no process: health, sockets, remains, revisions, errors, logs."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

import runtime
from runtime.config.models import Http
from runtime.engines.local import Output, created_at
from runtime.engines.package import with_own_package
from runtime.errors import ConfigError, MuxError, PortInUse, StartError
from runtime.project import Project
from runtime.supervisor.api import ApplyRequest, Event
from runtime.supervisor.desired import Desired
from runtime.supervisor.failures import from_event, from_payload, to_event
from runtime.supervisor.health import Health, HealthLimits
from runtime.supervisor.ports import Address, PublicSockets, _project_of
from runtime.supervisor.remains import ChildRecord, Remains
from runtime.supervisor.specs import ROUTER_MALLOC, Specs, kept_token, new_incarnation
from tests.supervisor.conftest import Apply

# --- health


def test_health_pings_once_a_period_and_forgives_a_late_answer() -> None:
    health = Health(HealthLimits(period_s=10, timeout_s=5, patience_s=30), now=0)
    assert health.tick(9) is None
    assert health.deadline() == 10
    assert health.tick(10) == 1
    assert health.deadline() == 15
    assert health.tick(15) is None
    assert health.suspect
    assert health.deadline() == 40
    health.pong(1, True, "", 20)
    assert (health.suspect, health.verdict, health.deadline()) == (False, "", 30)


def test_health_ends_a_child_that_stays_silent() -> None:
    health = Health(HealthLimits(period_s=10, timeout_s=5, patience_s=30), now=0)
    health.tick(10)
    health.tick(39)
    assert health.verdict == ""
    health.tick(40)
    assert health.verdict == "did not answer for 30 s"


def test_health_ends_a_child_after_three_failed_checks_in_a_row() -> None:
    health = Health(HealthLimits(period_s=1, timeout_s=5, patience_s=30), now=0)
    now = 0.0
    for healthy in (False, False, True, False, False):
        now += 1
        seq = health.tick(now)
        assert seq is not None
        health.pong(seq, healthy, "no disk", now)
    assert health.verdict == ""
    assert health.tick(now + 1) is not None
    health.pong(99, False, "an answer to nothing", now + 1)
    health.pong(6, False, "no disk", now + 1)
    assert health.verdict == "failed its health check 3 times: no disk"


# --- sockets


def test_sockets_share_a_port_and_are_kept_until_told() -> None:
    sockets, address = PublicSockets(), Address.of(Http(port=0))
    sockets.bind(address, 1)
    first = sockets.of_router(address, 0)
    sockets.bind(address, 3)
    assert sockets.of_router(address, 0) is first
    ports = {sockets.of_router(address, index).getsockname()[1] for index in range(3)}
    assert len(ports) == 1
    assert sockets.url(address) == f"http://127.0.0.1:{ports.pop()}"
    sockets.trim(address, 2)
    assert sockets.of_router(address, 2).getsockname() == first.getsockname()
    sockets.keep_only(address, 1)
    sockets.trim(Address("127.0.0.1", 1), 0)
    assert first.fileno() != -1
    sockets.keep_only(None)
    assert first.fileno() == -1
    assert sockets.url(address) == ""


def test_a_wider_host_on_the_own_port_is_no_clash() -> None:
    sockets = PublicSockets()
    narrow = Address("127.0.0.1", 0)
    sockets.bind(narrow, 1)
    port = sockets.of_router(narrow, 0).getsockname()[1]
    wide = Address("0.0.0.0", port)
    sockets.bind(wide, 1)
    assert sockets.url(wide) == f"http://127.0.0.1:{port}"
    sockets.keep_only(None)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (Address("fe80::1%no-such-if", 8000), "cannot be listened on"),
        (Address("203.0.113.7", 8000), "cannot be bound"),
    ],
)
def test_an_address_that_cannot_be_bound_is_said(address: Address, message: str) -> None:
    with pytest.raises(PortInUse, match=message):
        PublicSockets().bind(address, 1)


def test_a_second_listener_is_found_even_if_it_shares_its_port() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"127.0.0.1:{port} is in use by .* \(pid {os.getpid()}\)"):
            PublicSockets().bind(Address("127.0.0.1", port), 1)


# --- remains


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def test_the_sweep_ends_recorded_children_and_spares_reused_pids(tmp_path: Path) -> None:
    path = tmp_path / "children.json"
    with sleeper() as child, sleeper() as stranger:
        records = [
            ChildRecord(name="Model#aaaaaa", pid=child.pid, create_time=created_at(child.pid)),
            ChildRecord(name="Model#bbbbbb", pid=stranger.pid, create_time=created_at(stranger.pid) - 100),
            ChildRecord(name="Model#cccccc", pid=2**22 - 1, create_time=1.0),
        ]
        path.write_bytes(msgspec.json.encode(records))
        assert Remains(path).sweep() == ["Model#aaaaaa"]
        assert child.wait(timeout=5) == -9
        assert psutil.Process(stranger.pid).is_running()
        stranger.kill()
    assert not path.exists()


def test_the_sweep_of_nothing_does_nothing(tmp_path: Path) -> None:
    assert Remains(tmp_path / "children.json").sweep() == []


def test_a_port_that_another_project_has_is_told_with_its_name(
    project: Project, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUX_HOME", env["MUX_HOME"])
    assert _project_of(["python", "--spec", str(project.specs / "router-0.json")]) == "the project 'shop'"
    assert _project_of(["python", "--config", str(project.config_path)]) == "the project 'shop'"
    assert _project_of(["nginx", "-c", "/etc/nginx.conf"]) == ""


# --- what is desired


def desired(request: ApplyRequest, previous: Desired | None = None) -> Desired:
    return Desired.parse(request, previous, 1)


def test_only_what_matters_changes_a_revision(deploy: Apply) -> None:
    base = desired(deploy())
    for same in (
        deploy(replicas=5),
        deploy("other"),
        deploy(request_timeout_s=3.0),
        deploy(max_surge=0),
        deploy(http={"port": 9}),
        deploy(max_num_models_per_replica=3),
    ):
        assert desired(same).revisions == base.revisions
    edited = deploy()
    edited.digests["Model"] = {"app.py": "1234"}
    for other in (deploy(max_ongoing_requests=7), deploy(env={"A": "b"}), edited):
        assert desired(other).revisions != base.revisions
    assert base.restart(["Model"], 2).revisions != base.revisions
    assert desired(deploy(http={"port": 9})).router_revision != base.router_revision


def test_a_restart_is_not_undone_by_the_next_deploy(deploy: Apply) -> None:
    restarted = desired(deploy()).restart(["Model"], 2)
    assert desired(deploy(), restarted).revisions == restarted.revisions


def test_what_is_desired_survives_on_disk(tmp_path: Path, deploy: Apply) -> None:
    path = tmp_path / "desired.json"
    saved = desired(deploy(replicas=2)).scale({"Model": 4}, 7)
    saved.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = Desired.load(path)
    assert loaded is not None
    assert (loaded.generation, loaded.count("Model")) == (7, 4)
    assert loaded.revisions == saved.revisions
    path.write_text("{")
    assert Desired.load(path) is None


def test_a_config_of_another_version_is_an_error_not_a_crash(deploy: Apply) -> None:
    request = deploy()
    request.config["colour"] = "blue"
    with pytest.raises(ConfigError, match="colour"):
        desired(request)


# --- what crosses the socket, and what lies on disk


def test_errors_cross_the_socket_as_themselves() -> None:
    error = StartError("it broke", traceback="the story", hint="look")
    back = from_event(to_event(error))
    assert isinstance(back, StartError)
    assert (back.message, back.traceback, back.hint) == ("it broke", "the story", "look")
    assert type(from_payload({"error": "from the future", "message": "?"})) is MuxError
    assert isinstance(from_event(Event(kind="failed", code="port_in_use")), PortInUse)


def test_the_shells_environment_goes_before_a_routers_malloc(project: Project, deploy: Apply) -> None:
    request = deploy(env={"STAGE": "test"})
    request.env = {"SHELL": "sh", "MALLOC_TOP_PAD_": "7"}
    target = desired(request)
    router, replica = [Specs(project, "").env(target, slot) for slot in target.slots]
    assert router == {**ROUTER_MALLOC, **request.env}
    assert replica == {**request.env, "STAGE": "test"}


def test_a_token_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "calls.token"
    token = kept_token(path)
    assert len(token) >= 24
    assert kept_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({new_incarnation() for _ in range(50)}) == 50


def test_the_output_of_a_child_is_its_own_and_outlasts_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "router-0" / "output.log"
    os.close(Output(path).open())
    path.write_bytes(b"of the one before\n")
    output = Output(path)
    with path.open("ab") as file:
        file.write(b"own")
    assert output.tail() == b"own"
    path.write_bytes(b"cut")
    assert output.tail() == b"cut"
    path.unlink()
    assert output.tail() == b""


def test_children_find_this_package_before_a_users_own(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    env = with_own_package({**os.environ, "PYTHONPATH": str(tmp_path)}, str(tmp_path))
    command = [sys.executable, "-P", "-c", "import runtime; print(runtime.__file__)"]
    found = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == runtime.__file__
    assert env["PYTHONPATH"].endswith(str(tmp_path))
