"""wrk, run and read: one closed-loop load of so many connections for so many seconds."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """
local ids, requests, turn = {"1", "2", "3", "4"}, {}, 0
init = function()
  for i, id in ipairs(ids) do
    requests[i] = wrk.format("GET", "/", {["serve-multiplexed-model-id"] = id})
  end
end
request = function() turn = turn % 4 + 1; return requests[turn] end
"""
NEW_HEADS = """
local turn = 0
request = function()
  turn = turn + 1
  return wrk.format("GET", "/", {["serve-multiplexed-model-id"] = tostring(turn % 4 + 1), ["x-trace"] = tostring(turn)})
end
"""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def run_wrk(port: int, connections: int, seconds: int, *, new_heads: bool = False) -> Load:
    """Run wrk against a loopback port; with ``new_heads`` no request's head is like another's.

    Raises ``RuntimeError`` where wrk is missing or fails.
    """
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk is not installed: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(NEW_HEADS if new_heads else SCRIPT)
        script.flush()
        threads = "1"
        done = subprocess.run(
            ["wrk", "-t", threads, "-c", str(connections), "-d", f"{seconds}s", "--latency", "-s",
             script.name, f"http://127.0.0.1:{port}/"],
            capture_output=True, text=True, timeout=seconds + 30, check=True,
        )  # fmt: skip
    return parse(done.stdout)


def parse(text: str) -> Load:
    """Read wrk's report."""

    def latency(percent: str) -> float:
        found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.M)  # "1.01s " is padded
        assert found, text
        return float(found[1]) * _UNITS[found[2]]

    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate, text
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = (int(bad[1]) if bad else 0) + (sum(map(int, socket_errors.groups())) if socket_errors else 0)
    return Load(float(rate[1]), latency("50"), latency("99"), errors)


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    import socket

    sockets = [socket.socket() for _ in range(count)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


HERE = Path(__file__).resolve().parent
