"""The servers that the benchmarks compare, each a context that yields it once it answers.

All of a benchmark's servers run at once, but only the one that is asked is awake (``awake``): the others are stopped
with SIGSTOP. Ray Serve's processes are never idle (6 to 20 % of two cores seen), and would take that from the rest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.wrk import HERE, free_ports

APPS = HERE / "apps"
RAY_PYTHON = HERE.parent / ".bench" / "ray" / "bin" / "python"

NGINX = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 100000000;
  upstream app {{ server unix:{folder}/0.sock; server unix:{folder}/1.sock; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


@dataclass(frozen=True)
class Server:
    """A running server: where it answers, and the process that it descends from or the home that it runs in."""

    port: int
    root: int = 0
    home: str = ""

    def processes(self) -> list[psutil.Process]:
        if self.root:
            root = psutil.Process(self.root)
            return [root, *root.children(recursive=True)]
        return [one for one in psutil.process_iter() if _home(one) == self.home]


def _home(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("MUX_HOME")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


@contextmanager
def awake(server: Server, servers: Iterable[Server]) -> Iterator[None]:
    """Stop all the other servers meanwhile."""
    others = [process for one in servers if one is not server for process in one.processes()]
    try:
        for process in others:
            process.suspend()
        yield
    finally:
        for process in others:
            process.resume()


def wait_until_it_answers(port: int, timeout_s: float = 60) -> None:
    """Ask until a 200 comes. Raises ``TimeoutError``."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"serve_multiplexed_model_id": "1"})
            with urllib.request.urlopen(request, timeout=5) as answer:
                answer.read()
                return
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing answers on port {port}") from None
            time.sleep(0.05)


@contextmanager
def process(*args: str, **kwargs: object) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(args, **kwargs)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def nginx() -> Iterator[Server]:
    """nginx with kept-alive Unix sockets to two uvicorn+Starlette processes; no access logs anywhere."""
    if shutil.which("nginx") is None:
        raise RuntimeError("nginx is not installed: apt-get install nginx-light")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mux-bench-"))
        (port,) = free_ports(1)
        for number in range(2):
            stack.enter_context(
                process(
                    sys.executable, "-m", "uvicorn", "starlette_app:app", "--uds", f"{folder}/{number}.sock",
                    "--no-access-log", "--log-level", "warning", cwd=APPS,
                )
            )  # fmt: skip
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port))
        for number in range(2):
            while not Path(f"{folder}/{number}.sock").exists():
                time.sleep(0.05)
            Path(f"{folder}/{number}.sock").chmod(0o666)
        Path(folder).chmod(0o755)
        child = stack.enter_context(process("nginx", "-c", str(config), "-g", "daemon off;"))
        wait_until_it_answers(port)
        yield Server(port, child.pid)


@contextmanager
def mux(config: Path = APPS / "trivial.yaml", **env: str) -> Iterator[Server]:
    """A deployed project of its own home, taken down at the end."""
    with tempfile.TemporaryDirectory(prefix="mux-bench-") as home:
        (port,) = free_ports(1)
        environment = {**os.environ, "MUX_HOME": home, "PORT": str(port), **env}
        command = [sys.executable, "-m", "mux_cli"]
        subprocess.run([*command, "deploy", str(config)], env=environment, check=True, stdout=subprocess.DEVNULL)
        try:
            wait_until_it_answers(port)
            yield Server(port, home=home)
        finally:
            subprocess.run(
                [*command, "down"], env=environment, cwd=config.parent, check=True, stdout=subprocess.DEVNULL
            )


@contextmanager
def ray(script: str = "ray_app.py", *args: str) -> Iterator[Server]:
    """Ray Serve in a virtual environment of its own, made on first use."""
    ensure_ray()
    (port,) = free_ports(1)
    environment = {**os.environ, "RAY_SERVE_LOG_TO_STDERR": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    with process(
        str(RAY_PYTHON), str(APPS / script), str(port), *args,
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=APPS,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdin is not None
        while (line := child.stdout.readline()).strip() != b"ready":
            if not line:
                raise RuntimeError("Ray Serve did not start")
        wait_until_it_answers(port)
        yield Server(port, child.pid)
        child.stdin.close()
        child.wait(60)


def ensure_ray() -> None:
    if not RAY_PYTHON.exists():
        print("installing Ray Serve into .bench/ray (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(RAY_PYTHON.parents[1])], check=True)
    found = subprocess.run([str(RAY_PYTHON), "-c", "import ray.serve"], capture_output=True, check=False)
    if found.returncode != 0:
        subprocess.run([str(RAY_PYTHON), "-m", "pip", "install", "--quiet", "ray[serve]"], check=True)
