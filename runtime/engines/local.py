"""Children as processes of this machine, each in a session of its own, their output in a file, never in a pipe."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from runtime.engines.engine import Launch
from runtime.engines.package import with_own_package
from runtime.errors import StartError
from runtime.link.channel import ChildChannel
from runtime.link.control import ChildSpec

OUTPUT_TAIL_BYTES: Final = 16 * 1024

Command = Callable[[ChildSpec, Path], Sequence[str]]


def child_command(spec: ChildSpec, spec_file: Path) -> list[str]:
    """Return the command line of a router or replica.

    ``-P`` keeps a user's own ``runtime`` folder from shadowing this package, and ``faulthandler`` leaves a
    stack in the output when native code crashes.
    """
    module = f"runtime.{spec.role}"
    return [sys.executable, "-P", "-X", "faulthandler", "-m", module, "--spec", str(spec_file)]


class LocalEngine:
    """Spawns children on this machine. They notice the end of this process by EOF on a pipe that it holds."""

    def __init__(self, specs: Path, command: Command = child_command) -> None:
        self._specs = specs
        self._command = command
        self._liveness, self._held = os.pipe()  # children inherit the first; closing the second ends them

    async def spawn(self, launch: Launch) -> LocalChild:
        """Start a child and return without waiting for its handshake. Raises StartError."""
        spec = launch.spec
        ours, theirs = socket.socketpair()
        with theirs:
            listen_fds = [listener.fileno() for listener in launch.listeners]
            spec = msgspec.structs.replace(
                spec,
                control_fd=theirs.fileno(),
                liveness_fd=self._liveness,
                listen_fds=listen_fds,
                parent_pid=os.getpid(),
            )
            spec_file = self._specs / f"{spec.name.replace('#', '-')}.json"
            try:
                write_private(spec_file, msgspec.json.encode(spec))
                process, output = self._start(spec, spec_file, launch.env)
            except OSError as exc:
                ours.close()
                raise StartError(f"{spec.name} could not be started: {exc}") from exc
        return LocalChild(process, await ChildChannel.open(ours), spec_file, output)

    def _start(
        self, spec: ChildSpec, spec_file: Path, env: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], Output]:
        output = Output(Path(spec.log_dir) / "output.log")
        fd = output.open()
        try:
            process = subprocess.Popen(
                self._command(spec, spec_file),
                stdin=subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                cwd=spec.config_dir,
                env=with_own_package(env, spec.config_dir),
                pass_fds=(spec.control_fd, spec.liveness_fd, *spec.listen_fds),
                start_new_session=True,
            )
        finally:
            os.close(fd)
        return process, output

    def close(self) -> None:
        """Let go of the children: those still alive end by themselves."""
        for fd in (self._liveness, self._held):
            os.close(fd)


class Output:
    """The file behind a child's descriptors 1 and 2, and where this incarnation's part of it begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start = path.stat().st_size if path.exists() else 0

    def open(self) -> int:
        """Return a descriptor that appends to the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def tail(self) -> bytes:
        """Return the end of what was written since the start, at most ``OUTPUT_TAIL_BYTES``."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                start = self.start if self.start <= end else 0  # the child's log writer has cut the file down
                file.seek(max(start, end - OUTPUT_TAIL_BYTES))
                return file.read()
        except FileNotFoundError:
            return b""


class LocalChild:
    """A child process of this one, its own session and process group."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        channel: ChildChannel,
        spec_file: Path,
        output: Output,
    ) -> None:
        self._process = process
        self._channel = channel
        self._spec_file = spec_file
        self._output = output
        self._created_at = created_at(process.pid)
        self._code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._watch()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def create_time(self) -> float:
        return self._created_at

    @property
    def channel(self) -> ChildChannel:
        return self._channel

    @property
    def output(self) -> bytes:
        return self._output.tail()

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    def terminate(self) -> None:
        if not self._code.done():
            self._process.terminate()

    def kill(self) -> None:
        if not self._code.done():
            self._kill_group()

    async def close(self) -> None:
        self._channel.abandon()
        self._spec_file.unlink(missing_ok=True)

    def _watch(self) -> None:
        """Have ``_ended`` called on the loop when the process has ended; it stays a zombie until then."""
        loop = asyncio.get_running_loop()
        try:
            pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # an old kernel, or not Linux
            threading.Thread(target=self._wait_in_thread, args=(loop,), daemon=True).start()
            return

        def readable() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            self._ended()

        loop.add_reader(pidfd, readable)

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        self._kill_group()  # before reaping, while the number cannot belong to anyone else
        self._code.set_result(self._process.wait())

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # nobody left in it
            return


def created_at(pid: int) -> float:
    """Return when a process was created, in Unix seconds. Raises psutil.NoSuchProcess."""
    import psutil  # not at the top: the first child starts before this is needed

    return psutil.Process(pid).create_time()


def write_private(path: Path, data: bytes) -> None:
    """Replace a file, atomically, readable by its owner only. Raises OSError, and then the old one is still there."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
