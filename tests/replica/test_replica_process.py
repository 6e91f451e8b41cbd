"""The replica as a process: spawned with a spec, spoken to over its control channel and its link."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from runtime.config.deployment import Deployment
from runtime.link.channel import ChildChannel
from runtime.link.control import (
    Answer,
    ChildSpec,
    Drain,
    Failed,
    FromChild,
    Ping,
    Pong,
    Progress,
    Query,
    Ready,
    Reconfigure,
)
from tests.replica.fakes import FakeRouter

pytestmark = [pytest.mark.anyio, pytest.mark.process]
DEADLINE_S = 30.0
M = TypeVar("M")


class Child:
    """A replica process and the supervisor's end of its channel."""

    def __init__(self, process: asyncio.subprocess.Process, channel: ChildChannel, spec: ChildSpec) -> None:
        self.process = process
        self.channel = channel
        self.spec = spec
        self.progress: list[str] = []
        self._messages = aiter(channel)

    async def hear(self, kind: type[M]) -> M:
        """Return the next message of ``kind``; progress is collected, anything else is a failure."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message: FromChild | None = await anext(self._messages, None)
                assert message is not None, (Path(self.spec.config_dir) / "output.log").read_text()
                if isinstance(message, kind):
                    return message
                assert isinstance(message, Progress), message
                self.progress.append(message.stage)

    async def ask(self, what: str, **args: Any) -> Answer:
        self.channel.send(Query(id=1, what=what, args=args))
        return await self.hear(Answer)

    async def exit_code(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()

    def log(self) -> list[dict[str, Any]]:
        files = sorted(Path(self.spec.log_dir).glob("*.jsonl"))
        return [msgspec.json.decode(line) for file in files for line in file.read_bytes().splitlines()]

    def messages(self, event: str) -> list[str]:
        return [record["msg"] for record in self.log() if record.get("event") == event]


@asynccontextmanager
async def spawned(folder: Path, *, resume: list[str] | None = None, **config: Any) -> AsyncIterator[Child]:
    deployment = Deployment.model_validate({"name": "Model", **config})
    ours, theirs = socket.socketpair()
    alive_read, alive_write = os.pipe()
    spec = ChildSpec(
        role="replica", name="Model#EjYmnQ", project="p", config_dir=str(folder), log_dir=str(folder / "logs"),
        control_fd=theirs.fileno(), liveness_fd=alive_read, deployment=deployment.to_spec(),
        address=f"unix:{folder / 'r.sock'}", token="secret", cache_dir=str(folder / "cache"), cache_max_bytes=10**9,
        preload=resume or [],
    )  # fmt: skip
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
    with (folder / "output.log").open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "runtime.replica", "--spec", str(folder / "spec.json"),
            pass_fds=(theirs.fileno(), alive_read), stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
    theirs.close()
    os.close(alive_read)
    channel = await ChildChannel.open(ours)
    try:
        yield Child(process, channel, spec)
    finally:
        os.close(alive_write)
        if process.returncode is None:
            process.kill()
        await process.wait()
        await channel.close()


def write(folder: Path, source: str) -> None:
    import textwrap

    (folder / "app.py").write_text(textwrap.dedent(source))


PLAIN = """
    import os
    from pathlib import Path

    class Model:
        def __init__(self, model_id):
            self.id = model_id

        def __call__(self, inputs):
            print("computing", inputs)
            return [self.id, inputs, os.environ["OMP_NUM_THREADS"]]

        def __del__(self):
            with Path("cleaned.txt").open("a") as file:
                file.write(self.id + chr(10))

    def load_model(model_id):
        if model_id == "bad":
            raise OSError("no such weights")
        return Model(model_id)
"""


async def test_starts_serves_and_drains(short_dir: Path) -> None:
    write(short_dir, PLAIN)
    config: dict[str, Any] = {"loader": "app:load_model", "pin": ["p"], "torch_threads": 3}
    async with spawned(short_dir, **config, resume=["q"]) as child:
        await child.hear(Ready)
        assert {"importing", "constructing", "loading model"} <= set(child.progress)
        assert (short_dir / "r.sock").stat().st_mode & 0o777 == 0o600
        router = FakeRouter()
        await router.connect(child.spec.address, "secret")
        await router.until(lambda: router.models == {"p": "resident", "q": "resident"})
        answer = await router.request(model="a", body=b'{"inputs": 7}')
        assert answer.json == {"outputs": ["a", 7, "3"]}
        status = await child.ask("status")
        assert status.data["slots"] == 3
        assert sorted(status.data["models"]) == ["a", "p", "q"]
        infos = (await child.ask("models")).data["models"]
        assert {info["model"]: info["pinned"] for info in infos} == {"a": False, "p": True, "q": False}
        assert {info["model"]: info["uses"] for info in infos} == {"a": 1, "p": 0, "q": 0}
        assert all(0 <= info["idle_s"] < 60 for info in infos)
        child.channel.send(Drain(deadline_s=5))
        assert await child.exit_code() == 0
        assert router.gone
        cleaned = (short_dir / "cleaned.txt").read_text().split()
        assert sorted(cleaned) == ["a", "p", "q"]
        assert sorted(child.messages("model.unloading")) == [f"Unloading model {model!r}." for model in "apq"]
        printed = next(record for record in child.log() if record.get("event") == "output.print")
        assert (printed["msg"], printed["model"], printed["request_id"]) == ("computing 7", "a", "r1")


async def test_sigterm_drains_and_sigint_is_left_to_the_supervisor(short_dir: Path) -> None:
    write(short_dir, PLAIN)
    async with spawned(short_dir, loader="app:load_model", preload=["1"]) as child:
        await child.hear(Ready)
        child.process.send_signal(signal.SIGINT)
        child.channel.send(Ping(seq=4))
        assert await child.hear(Pong) == Pong(seq=4)
        child.process.send_signal(signal.SIGTERM)
        assert await child.exit_code() == 0
        assert (short_dir / "cleaned.txt").read_text() == "1\n"


@pytest.mark.parametrize(
    ("source", "config", "stage", "message", "in_traceback"),
    [
        ("", {"loader": "nowhere:load"}, "import", "there is no module 'nowhere'", ""),
        ("x = 1", {"loader": "app:load"}, "import", "has no attribute 'load'", ""),
        ("import missing_library", {"loader": "app:x"}, "import", "ModuleNotFoundError", "import missing_library"),
        ("def load(:\n    pass", {"loader": "app:load"}, "import", "SyntaxError", "def load(:"),
        (
            "from runtime import serve\n@serve.deployment\nclass M:\n    def __init__(self):\n        1 / 0\n",
            {"import_path": "app:M"},
            "init",
            "ZeroDivisionError",
            "1 / 0",
        ),
        (PLAIN, {"loader": "app:load_model", "preload": ["bad"]}, "preload", "no such weights", "raise OSError"),
    ],
)
async def test_what_keeps_it_from_starting_is_told(
    short_dir: Path, source: str, config: dict[str, Any], stage: str, message: str, in_traceback: str
) -> None:
    write(short_dir, source)
    async with spawned(short_dir, **config) as child:
        failed = await child.hear(Failed)
        assert failed.stage == stage
        assert message in failed.message
        assert in_traceback in failed.traceback
        if in_traceback:
            first = next(line for line in failed.traceback.splitlines() if line.lstrip().startswith("File"))
            assert str(short_dir / "app.py") in first
        assert await child.exit_code() == 3


CLASS = """
    from runtime import serve

    @serve.deployment
    class Model:
        def __init__(self):
            self.threshold = 0
            self.sick = False

        def reconfigure(self, user_config):
            if user_config.get("bad"):
                raise ValueError("bad config")
            self.threshold = user_config["threshold"]

        async def check_health(self):
            if self.threshold > 8:
                raise RuntimeError("too hot")

        async def __call__(self, request):
            return self.threshold
"""


async def test_reconfigures_and_checks_health(short_dir: Path) -> None:
    write(short_dir, CLASS)
    config = {"name": "Model", "import_path": "app:Model", "user_config": {"threshold": 1}}
    async with spawned(short_dir, **config) as child:
        await child.hear(Ready)
        router = FakeRouter()
        await router.connect(child.spec.address, "secret")
        assert (await router.request()).body == b"1"
        child.channel.send(Reconfigure(id=2, deployment=spec_of({**config, "user_config": {"threshold": 9}})))
        assert (await child.hear(Answer)).ok
        assert (await router.request()).body == b"9"
        child.channel.send(Ping(seq=1, health=True))
        assert await child.hear(Pong) == Pong(seq=1, healthy=False, message="check_health: RuntimeError: too hot")
        child.channel.send(Reconfigure(id=3, deployment=spec_of({**config, "user_config": {"bad": True}})))
        refused = await child.hear(Answer)
        assert (refused.ok, refused.message) == (False, "ValueError: bad config")
        assert "app.py" in refused.data["traceback"]
        router.link.close("done")


def spec_of(config: dict[str, Any]) -> dict[str, Any]:
    return Deployment.model_validate(config).to_spec()


async def test_ends_when_its_supervisor_is_gone(short_dir: Path) -> None:
    write(short_dir, PLAIN)
    async with spawned(short_dir, loader="app:load_model", preload=["1"]) as child:
        await child.hear(Ready)
        child.channel.abandon()
        assert await child.exit_code() == 0
        assert (short_dir / "cleaned.txt").read_text() == "1\n"


async def test_explains_and_shows_stacks(short_dir: Path) -> None:
    write(short_dir, PLAIN)
    async with spawned(short_dir, loader="app:load_model") as child:
        await child.hear(Ready)
        router = FakeRouter()
        await router.connect(child.spec.address, "secret")
        await router.request(model="a", body=b'{"inputs": 7}', request_id="abc")
        explained = (await child.ask("explain", request_id="abc")).data
        assert [record["what"] for record in explained["records"]] == ["loading", "admitted"]
        assert "loading model 'a'" in explained["lines"][0]
        assert (await child.ask("pin", models=["a"])).data["models"][0]["pinned"]
        [gone] = (await child.ask("unload", models=["a"])).data["models"]
        assert (gone["state"], gone["pinned"]) == ("absent", False)
        assert "thread MainThread" in (await child.ask("stacks")).data
        wrong = await child.ask("nonsense")
        assert (wrong.ok, wrong.data["error"]) == (False, "not_found")
        router.link.close("done")


HANGING = """
    import asyncio
    from pathlib import Path
    from runtime import serve

    leave = asyncio.Event()

    @serve.deployment
    class Model:
        @serve.multiplexed(max_num_models_per_replica=2)
        async def get_model(self, model_id: str):
            return Held()

        async def __call__(self, request):
            await self.get_model("1")
            if request.url.path == "/leave":
                leave.set()
                return "left"
            print("entered")
            await leave.wait()
            return "finished"

        def __del__(self):
            Path("instance.txt").write_text("ended")

    class Held:
        def __del__(self):
            Path("cleaned.txt").write_text("cleaned")
"""


@pytest.mark.parametrize("deadline_s", [20.0, 0.05])
async def test_a_drain_finishes_what_runs_or_cancels_it(short_dir: Path, deadline_s: float) -> None:
    write(short_dir, HANGING)
    async with spawned(short_dir, import_path="app:Model") as child:
        await child.hear(Ready)
        router = FakeRouter()
        await router.connect(child.spec.address, "secret")
        hanging = router.open()
        await router.until(lambda: router.models.get("1") == "resident")
        late = router.open("/leave") if deadline_s > 1 else None
        child.channel.send(Drain(deadline_s=deadline_s))
        await hanging.end()
        if late is not None:
            await late.end()
            assert (hanging.body, late.body) == (b"finished", b"left")
        else:
            assert hanging.aborted is not None
            assert (hanging.aborted.code, hanging.aborted.status) == ("draining", 503)
        assert await child.exit_code() == 0
        assert (short_dir / "cleaned.txt").read_text() == "cleaned"
        assert (short_dir / "instance.txt").read_text() == "ended"
        assert child.messages("model.unloading") == ["Unloading model '1'."]
