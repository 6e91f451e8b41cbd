"""Where one project keeps its state: folders, sockets and their permissions. One folder a project.

A project is known by its name and its config file's absolute path. ``MUX_HOME`` overrides the XDG state folder.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtime.errors import StartError


class ProjectRecord(msgspec.Struct):
    """``project.json``: written by the first deploy, read by every command."""

    name: str
    config_path: str


@dataclass(frozen=True, slots=True)
class Project:
    """The paths of one project. ``root`` is 0700; nothing here touches the disk but ``create``."""

    name: str
    config_path: Path
    root: Path
    sockets: Path

    @property
    def record_file(self) -> Path:
        return self.root / "project.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "supervisor.lock"

    @property
    def supervisor_file(self) -> Path:
        """{"pid", "create_time", "version"} of the running supervisor; gone when it stopped cleanly."""
        return self.root / "supervisor.json"

    @property
    def children_file(self) -> Path:
        """Pids, process groups and create times of the children, swept at the next start."""
        return self.root / "children.json"

    @property
    def desired_file(self) -> Path:
        """The last applied, resolved config (0600: it may hold secrets)."""
        return self.root / "desired.json"

    @property
    def specs(self) -> Path:
        return self.root / "specs"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def cache(self) -> Path:
        """Downloaded model files, shared by every project of this user."""
        return self.root.parent.parent / "cache"

    @property
    def control_socket(self) -> Path:
        return self.sockets / "control.sock"

    def log_dir(self, process: str) -> Path:
        return self.logs / process.replace("#", "-")

    def create(self) -> None:
        """Make the folders, 0700, and write ``project.json``. Raises StartError where the disk refuses."""
        try:
            for folder in (self.root, self.specs, self.logs, self.sockets):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.root.chmod(0o700)
            self.sockets.chmod(0o700)
            self.record_file.write_bytes(msgspec.json.encode(ProjectRecord(self.name, str(self.config_path))))
        except OSError as exc:
            raise StartError(
                f"The project's state cannot be written: {exc.strerror or exc}: {exc.filename or self.root}.",
                hint="Make room or set the rights there, or let MUX_HOME name another folder.",
            ) from exc


def home(env: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of all state: ``$MUX_HOME``, else ``$XDG_STATE_HOME/mux``, else ``~/.local/state/mux``."""
    if env.get("MUX_HOME"):
        return Path(env["MUX_HOME"]).expanduser().absolute()
    base = env.get("XDG_STATE_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".local" / "state")
    return Path(base) / "mux"


def socket_home(env: Mapping[str, str] = os.environ) -> Path:
    """Return a short folder for sockets (a Unix socket path holds at most 107 bytes)."""
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if runtime and len(runtime) <= 40 and Path(runtime).is_dir():
        return Path(runtime) / "mux"
    return Path("/tmp") / f"mux-{os.getuid()}"


def project_for(name: str, config_path: Path, env: Mapping[str, str] = os.environ) -> Project:
    """Return the project of a config file. Its key is the name and a digest of the absolute path and home."""
    config_path = config_path.absolute()
    root_home = home(env)
    digest = hashlib.blake2s(f"{root_home}\0{config_path}".encode(), digest_size=4).hexdigest()
    slug = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:40]
    return Project(
        name=name,
        config_path=config_path,
        root=root_home / "projects" / f"{slug}-{digest}",
        sockets=socket_home(env) / digest,
    )


def known_projects(env: Mapping[str, str] = os.environ) -> Iterator[Project]:
    """Yield every project that has a record, in the order of their folder names; broken records are skipped."""
    folder = home(env) / "projects"
    if not folder.is_dir():
        return
    for record_file in sorted(folder.glob("*/project.json")):
        try:
            record = msgspec.json.decode(record_file.read_bytes(), type=ProjectRecord)
        except (OSError, msgspec.DecodeError):
            continue
        yield project_for(record.name, Path(record.config_path), env)
