"""``serve.run`` with real processes: a script that deploys itself, calls itself and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runtime import serve

ROOT = Path(__file__).parents[2]

APP = """
import json, os, sys, urllib.request
from runtime import serve
from runtime.serve.exceptions import RemoteError

@serve.deployment(num_replicas=2)
class Model:
    @serve.multiplexed(max_num_models_per_replica=2)
    async def get_model(self, model_id: str):
        return f"model {model_id}"

    async def __call__(self, x=None):
        return [await self.get_model(serve.get_multiplexed_model_id()), os.getpid()]

    async def count(self, n):
        for i in range(n):
            yield i

    def fail(self):
        raise KeyError("user code")

@serve.deployment
class Front:
    def __init__(self, model):
        self.model = model

    async def __call__(self, request=None):
        return await self.model.options(multiplexed_model_id="bar").remote(1)

    async def itself(self):
        return await serve.get_app_handle("default").itself.remote()

app = Front.bind(Model.bind())
again = Model.bind()
"""

MAIN = """
if __name__ == "__main__":
    url = f"http://127.0.0.1:{sys.argv[1]}"
    serve.start(http_options={"port": int(sys.argv[1])})
    front = serve.run(app)
    model = serve.get_deployment_handle("Model")
    first = model.options(multiplexed_model_id="7")
    found = {
        "composed": front.remote().result(timeout_s=20)[0],
        "http": json.loads(urllib.request.urlopen(url, timeout=20).read())[0],
        "affinity": len({first.remote(1).result(timeout_s=20)[1] for _ in range(5)}),
        "items": list(model.options(stream=True).count.remote(3)),
        "status": {n: d.status for n, d in serve.status().applications["default"].deployments.items()},
    }
    try:
        model.fail.remote().result(timeout_s=20)
    except KeyError as exc:
        found["error"] = isinstance(exc.__cause__, RemoteError) and "in fail" in str(exc.__cause__)
    try:
        front.itself.remote().result(timeout_s=20)
    except serve.exceptions.CallCycle as exc:
        found["cycle"] = exc.code
    try:
        serve.run(again, name="again", route_prefix="/again")
    except ValueError as exc:
        found["clash"] = "Model" in str(exc) and front.remote().result(timeout_s=20)[0]
    print(json.dumps(found))
"""

EXPECTED = {
    "composed": "model bar",
    "http": "model bar",
    "affinity": 1,
    "items": [0, 1, 2],
    "status": {"Model": "HEALTHY", "Front": "HEALTHY"},
    "error": True,
    "cycle": "call_cycle",
    "clash": "model bar",
}

BLOCKING = """
if __name__ == "__main__":
    serve.start(http_options={"port": int(sys.argv[1])})
    import threading
    def tell():
        def state():
            app = serve.status().applications.get("default")
            return app.status if app else ""
        while state() != "RUNNING":
            threading.Event().wait(0.05)
        print("running", flush=True)
    threading.Thread(target=tell, daemon=True).start()
    serve.run(app, blocking=True)
"""

KILLED = """
if __name__ == "__main__":
    serve.start(http_options={"port": int(sys.argv[1])})
    serve.run(app)
    print("running", flush=True)
    sys.stdin.read()
"""

AGAIN = """
@serve.deployment
class Broken:
    def __init__(self):
        raise LookupError("no weights")

broken = Broken.bind()

if __name__ == "__main__":
    serve.start(http_options={"port": int(sys.argv[1])})
    for _ in range(3):
        try:
            serve.run(broken)
        except serve.exceptions.StartError as exc:
            assert "no weights" in str(exc), exc
    try:
        serve.run(app, route_prefix="x")
    except ValueError as exc:
        print(exc)
    print(serve.run(app).remote().result(timeout_s=20)[0])
"""

pytestmark = pytest.mark.process


@pytest.fixture
def home(short_dir: Path) -> Iterator[Path]:
    """A folder for one script; whatever still runs from it afterwards is an orphan, and is ended."""
    yield short_dir
    orphans = [
        process for process in psutil.process_iter(["cmdline"]) if str(short_dir) in str(process.info["cmdline"])
    ]
    for process in orphans:
        process.terminate()
    _, alive = psutil.wait_procs(orphans, timeout=10)
    assert alive == []


def environment(folder: Path) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("MUX_")}
    return env | {"MUX_HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder), "PYTHONPATH": str(ROOT)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, code: str) -> subprocess.Popen[str]:
    (folder / "shop.py").write_text(code)
    command = [sys.executable, "shop.py", str(free_port())]
    return subprocess.Popen(
        command, cwd=folder, env=environment(folder), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_script_runs_itself_and_takes_everything_down(home: Path) -> None:
    import json

    script = start(home, APP + MAIN)
    out, err = script.communicate(timeout=90)
    assert script.returncode == 0, err
    assert json.loads(out) == EXPECTED
    supervisors = [p for p in psutil.process_iter(["cmdline"]) if str(home) in str(p.info["cmdline"])]
    psutil.wait_procs(supervisors, timeout=10)


def test_blocking_ends_on_sigterm_and_takes_everything_down(home: Path) -> None:
    script = start(home, APP + BLOCKING)
    assert script.stdout is not None
    assert script.stderr is not None
    assert script.stdout.readline() == "running\n"
    port = script.args[-1]  # type: ignore[index]
    assert b"model bar" in urllib.request.urlopen(f"http://127.0.0.1:{port!s}", timeout=20).read()
    assert any(f"http://127.0.0.1:{port!s} answers; `mux logs -f -p " in line for line in script.stderr)  # it waits now
    script.send_signal(signal.SIGTERM)
    _, err = script.communicate(timeout=60)
    assert script.returncode == 0, err


def test_an_application_that_cannot_start_shows_the_users_traceback(home: Path) -> None:
    broken = "from runtime import serve\nimport sys\n@serve.deployment\nclass Model:\n    def __init__(self):\n"
    broken += "        raise LookupError('no weights')\napp = Model.bind()\nif __name__ == '__main__':\n"
    broken += "    serve.start(http_options={'port': int(sys.argv[1])})\n    serve.run(app)\n"
    script = start(home, broken)
    _, err = script.communicate(timeout=90)
    assert script.returncode == 1
    assert "LookupError: no weights" in err
    assert "StartError" in err


def test_run_without_a_guard_says_so(home: Path) -> None:
    script = start(
        home, APP + "if len(sys.argv) == 2:\n    serve.start(http_options={'port': int(sys.argv[1])})\nserve.run(app)\n"
    )
    _, err = script.communicate(timeout=90)
    assert script.returncode == 1
    assert 'if __name__ == "__main__":' in err


def processes_of(folder: Path) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if str(folder) in str(one.info["cmdline"])]


def test_a_script_that_is_killed_leaves_nothing_running(home: Path) -> None:
    script = start(home, APP + KILLED)
    assert script.stdout is not None
    assert script.stdout.readline() == "running\n"
    left = processes_of(home)
    assert len(left) >= 5  # a supervisor, a router, three replicas
    script.kill()
    script.communicate(timeout=20)
    _, alive = psutil.wait_procs(left, timeout=30)
    assert alive == []


def test_what_could_not_start_does_not_stand_in_the_way_of_the_next(home: Path) -> None:
    script = start(home, APP + AGAIN)
    out, err = script.communicate(timeout=90)
    assert script.returncode == 0, err
    assert out.splitlines() == ["Front.route_prefix: 'x' must start with '/'", "model bar"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prot": 1}, "unknown key 'prot'; did you mean 'port'?"),
        ({"location": "EveryNode"}, "unknown key 'location'; known here: host, port, routers"),
        ({"port": "x"}, "port: Input should be a valid integer"),
        ({"prot": 1, "routers": 0}, "routers: Input should be greater than or equal to 1; unknown key 'prot'"),
    ],
)
def test_http_options_that_do_not_exist_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        serve.start(http_options=options)
