"""What ``mux doctor`` looks at. Each check takes what it judges as arguments and returns a finding."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import msgspec

from mux_cli.projects import is_running
from mux_cli.quantities import size
from mux_cli.wake_up import wake_up_s
from runtime.cpu_latency import HINT, refusal
from runtime.project import Project

PACKAGES = ("uvicorn", "uvloop", "httptools", "starlette", "pydantic", "msgspec", "websockets", "boto3", "psutil")
FREE_DISK_BYTES = 2 << 30  # below this a single large model may not fit into the cache
OPEN_FILES = 4096  # every client connection is one; beyond them connections are closed without a word
SLOW_WAKE_UP_S = 20e-6  # a processor that polls takes about 5 µs, one that a virtual machine halts 30 to 150
SOCKET_PATH_BYTES = 107  # sun_path in Linux's sockaddr_un, less the final zero


class Check(msgspec.Struct, kw_only=True):
    """One finding. ``verdict``: ok, warn (it will work, but) or fail (it will not)."""

    name: str
    verdict: str
    finding: str
    hint: str = ""


def python_version(version: tuple[int, int, int]) -> Check:
    words = ".".join(map(str, version))
    if version >= (3, 11, 0):
        return Check(name="python", verdict="ok", finding=f"{words} at {sys.executable}")
    return Check(name="python", verdict="fail", finding=f"{words}", hint="mux needs Python 3.11 or newer.")


def packages(names: Iterable[str], installed: Callable[[str], str] = metadata.version) -> Check:
    """Judge whether every package that the processes import is installed."""
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {installed(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        finding = f"missing: {', '.join(missing)}"
        return Check(name="packages", verdict="fail", finding=finding, hint="Install mux again: pip install mux")
    return Check(name="packages", verdict="ok", finding=", ".join(found))


def torch(present: bool, version: str) -> Check:
    """Judge whether PyTorch is there; many projects do not need it."""
    if present:
        return Check(name="torch", verdict="ok", finding=version or "present")
    hint = "Only needed if your own code imports it: pip install 'mux[torch]'"
    return Check(name="torch", verdict="ok", finding="not installed", hint=hint)


def state_folder(folder: Path) -> Check:
    """Judge whether state can be written to ``folder``, which need not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Check(name="state folder", verdict="ok", finding=f"{folder} can be written")
    hint = f"Make {existing} yours, or set MUX_HOME to a folder that is."
    return Check(name="state folder", verdict="fail", finding=f"{folder} cannot be written", hint=hint)


def socket_folder(folder: Path) -> Check:
    """Judge whether Unix sockets below ``folder`` fit into an address."""
    longest = len(os.fsencode(folder / "01234567" / "Model-ABCDEF.sock"))
    if longest <= SOCKET_PATH_BYTES:
        return Check(name="sockets", verdict="ok", finding=str(folder))
    finding = f"paths below {folder} are too long ({longest} bytes, {SOCKET_PATH_BYTES} are possible)"
    return Check(name="sockets", verdict="fail", finding=finding, hint="Set XDG_RUNTIME_DIR to a shorter path.")


def free_disk(folder: Path, free_bytes: int) -> Check:
    """Judge whether models can be cached on the disk of ``folder``."""
    finding = f"{size(free_bytes)} free for {folder}"
    if free_bytes >= FREE_DISK_BYTES:
        return Check(name="disk", verdict="ok", finding=finding)
    return Check(name="disk", verdict="warn", finding=finding, hint="Downloaded models and logs may not fit.")


def open_files(limit: int) -> Check:
    """Judge the hard limit on open files, which bounds client connections; routers raise the soft one themselves."""
    finding = "no limit" if limit == resource.RLIM_INFINITY else f"{limit} at once"
    if limit == resource.RLIM_INFINITY or limit >= OPEN_FILES:
        return Check(name="open files", verdict="ok", finding=finding)
    hint = "Each client connection needs one. Raise the hard limit (ulimit -Hn), which only root can."
    return Check(name="open files", verdict="warn", finding=finding, hint=hint)


def wake_up(wake_up_s: float | None) -> Check:
    """Judge how long an idle processor takes to wake: a request is four wake-ups, one with a handle's call eight."""
    if wake_up_s is None:
        return Check(name="wake-up", verdict="ok", finding="not measured")
    finding = f"another processor answers after {wake_up_s * 1e6:.0f} µs"
    if wake_up_s < SLOW_WAKE_UP_S:
        return Check(name="wake-up", verdict="ok", finding=finding)
    hint = "Idle processors sleep deep. http.cpu_latency_us: 0 keeps them awake while requests come, at full power."
    return Check(name="wake-up", verdict="ok", finding=finding, hint=hint)


def cpu_latency(limit_us: int, refused: Callable[[int], str] = refusal) -> Check:
    """Judge whether this user may bound how long processors take to wake, as the config asks for."""
    name = "http.cpu_latency_us"
    if why := refused(limit_us):
        return Check(name=name, verdict="fail", finding=why, hint=HINT)
    return Check(name=name, verdict="ok", finding=f"{limit_us}: this user may set it")


def stale_projects(projects: Iterable[Project], running: Callable[[Project], bool] = is_running) -> Check:
    """Judge what old projects left: a config file that has gone, or a supervisor that died without cleaning up."""
    gone, dead = [], []
    for project in projects:
        if running(project):
            continue
        if not project.config_path.exists():
            gone.append(project)
        elif project.supervisor_file.exists():
            dead.append(project.name)
    if not gone and not dead:
        return Check(name="projects", verdict="ok", finding="none is stale")
    findings, hints = [], []
    if dead:
        findings.append(f"ended without cleaning up: {', '.join(dead)}")
        hints.append("The next 'mux deploy' of it cleans up.")
    if gone:
        findings.append(f"their config has gone: {', '.join(project.name for project in gone)}")
        hints.append("Remove what they left: rm -r " + " ".join(str(project.root) for project in gone))
    return Check(name="projects", verdict="warn", finding="; ".join(findings), hint=" ".join(hints))


def port(host: str, number: int, owner: str) -> Check:
    """Judge whether the public address can be bound. ``owner``: the running project that has it, if it is one."""
    name = f"{host}:{number}"
    if owner:
        return Check(name="port", verdict="ok", finding=f"{name} is served by '{owner}'")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as exc:
            hint = "Choose another with http.port in mux.yaml, or stop what holds it."
            finding = f"{name} cannot be used: {exc.strerror}"
            return Check(name="port", verdict="warn", finding=finding, hint=hint)
    return Check(name="port", verdict="ok", finding=f"{name} is free")


def machine(home: Path, sockets: Path, projects: list[Project]) -> list[Check]:
    """Return every check that needs no configuration."""
    existing = next(path for path in (home, *home.parents) if path.exists())
    has_torch = find_spec("torch") is not None
    return [
        python_version(sys.version_info[:3]),
        packages(PACKAGES),
        torch(has_torch, metadata.version("torch") if has_torch else ""),
        state_folder(home),
        socket_folder(sockets),
        free_disk(home, shutil.disk_usage(existing).free),
        open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        wake_up(wake_up_s()),
        stale_projects(projects),
    ]
