"""The findings of ``mux doctor``."""

from __future__ import annotations

import json
import resource
import socket
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from mux_cli import checks
from tests.cli.conftest import MakeProject, Run


def test_this_machine_can_run_mux(mux: Run) -> None:
    result = mux("doctor")
    assert result.exit_code == 0, result.stdout
    for name in (
        "python",
        "packages",
        "torch",
        "state folder",
        "sockets",
        "disk",
        "open files",
        "wake-up",
        "projects",
        "port",
    ):
        assert f"  {name}: " in result.stdout


def test_json_has_every_check(mux: Run) -> None:
    findings = json.loads(mux("doctor", "--json").stdout)
    assert {"name", "verdict", "finding", "hint"} == set(findings[0])


def test_a_broken_config_fails(mux: Run) -> None:
    Path("mux.yaml").write_text("deploymnts: []\n")
    result = mux("doctor")
    assert result.exit_code == 3
    assert "FAIL  config" in result.stdout


def test_the_port_of_the_config_is_checked(mux: Run) -> None:
    mux("init")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = Path("mux.yaml").read_text().replace("8000", str(port))
        Path("mux.yaml").write_text(text)
        result = mux("doctor")
    assert f"warn  port: 127.0.0.1:{port} cannot be used" in result.stdout


def test_an_old_python_fails() -> None:
    assert checks.python_version((3, 10, 9)).verdict == "fail"


def test_a_missing_package_is_named() -> None:
    def installed(name: str) -> str:
        if name == "uvloop":
            raise PackageNotFoundError(name)
        return "1"

    check = checks.packages(["uvicorn", "uvloop"], installed)
    assert (check.verdict, check.finding) == ("fail", "missing: uvloop")


def test_a_state_folder_below_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert checks.state_folder(tmp_path / "file" / "mux").verdict == "fail"
    assert checks.state_folder(tmp_path / "new" / "mux").verdict == "ok"


def test_a_long_socket_path_fails() -> None:
    assert checks.socket_folder(Path("/" + "x" * 100)).verdict == "fail"


def test_little_disk_is_a_warning() -> None:
    assert checks.free_disk(Path("/x"), 1 << 20).verdict == "warn"
    assert checks.free_disk(Path("/x"), 1 << 40).verdict == "ok"


def test_few_open_files_are_a_warning_that_says_how_to_raise_them() -> None:
    check = checks.open_files(256)
    assert (check.verdict, "ulimit -Hn" in check.hint) == ("warn", True)
    assert checks.open_files(65536).verdict == checks.open_files(resource.RLIM_INFINITY).verdict == "ok"


def test_stale_projects_are_named(make_project: MakeProject) -> None:
    gone, dead, running = make_project("gone"), make_project("dead"), make_project("running")
    gone.config_path.unlink()
    for project in (dead, running):
        project.supervisor_file.write_text("{}")
    check = checks.stale_projects([gone, dead, running], running=lambda project: project == running)
    assert check.verdict == "warn"
    assert check.finding == "ended without cleaning up: dead; their config has gone: gone"
    assert str(gone.root) in check.hint


def test_a_port_that_the_project_itself_holds_is_fine() -> None:
    assert checks.port("127.0.0.1", 1, "shop").finding == "127.0.0.1:1 is served by 'shop'"


def test_no_torch_is_no_fault() -> None:
    assert checks.torch(False, "").verdict == "ok"


def test_a_slow_wake_up_comes_with_what_helps() -> None:
    assert checks.wake_up(None).hint == checks.wake_up(5e-6).hint == ""
    slow = checks.wake_up(83e-6)
    assert (slow.verdict, slow.finding) == ("ok", "another processor answers after 83 µs")
    assert "cpu_latency_us" in slow.hint


def test_a_latency_that_may_not_be_set_fails() -> None:
    assert checks.cpu_latency(0, lambda limit_us: "").verdict == "ok"
    check = checks.cpu_latency(0, lambda limit_us: "No right to.")
    assert (check.verdict, check.finding) == ("fail", "No right to.")
    assert "udev" in check.hint
