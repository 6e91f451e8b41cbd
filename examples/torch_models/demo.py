"""The whole idea in a minute: six models, two replicas of two slots each. ``make demo`` runs this.

Every answer is checked against the model's own weights; a wrong model's answer fails the demo.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
INPUTS = [[1.0, 2.0, 3.0]]
MUX = [sys.executable, "-m", "mux_cli"]


class DemoFailed(Exception):
    """Something was not as promised."""


def mux(*args: str, env: dict[str, str], show: bool = True) -> str:
    """Run one command as a person would, show it and what it prints; return its stdout."""
    line = " ".join(f"'{arg}'" if " " in arg else arg for arg in args)
    print(f"\n\033[1m$ mux {line}\033[0m" if sys.stdout.isatty() else f"\n$ mux {line}", flush=True)
    done = subprocess.run([*MUX, *args], cwd=HERE, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if show:
        print(done.stdout, end="" if done.stdout.endswith("\n") else "\n", flush=True)
    if done.returncode != 0:
        raise DemoFailed(f"`mux {line}` ended with exit code {done.returncode}")
    return done.stdout


def expected() -> dict[int, list[list[float]]]:
    """Compute what each model must answer, straight from its file."""
    import torch

    sys.path.insert(0, str(HERE))
    from app import load_model
    from make_models import make_models

    make_models(HERE / "models")
    with torch.inference_mode():
        return {
            number: load_model(str(number), HERE / "models" / str(number) / "model.pt")(torch.tensor(INPUTS)).tolist()
            for number in range(1, 7)
        }


def ask_all(answers: dict[int, list[list[float]]], env: dict[str, str]) -> None:
    body = json.dumps({"inputs": INPUTS})
    for number, want in answers.items():
        got = json.loads(mux("request", "--model-id", str(number), "-d", body, env=env))["outputs"]
        if any(abs(a - b) > 1e-5 for a, b in zip(got[0], want[0], strict=True)):
            raise DemoFailed(f"model {number} answered {got}, but its weights say {want}")
        print(f"  checked: this is what the weights of model {number} say", flush=True)


def check_logs(text: str) -> None:
    for number in range(1, 7):
        if f"Loading model '{number}'." not in text:
            raise DemoFailed(f"the logs do not say that model {number} was loaded")
    if text.count("Unloading model '") < 2:
        raise DemoFailed("six models in four slots, but fewer than two were unloaded")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    print("Six PyTorch models of one shape, two replicas with room for two models each.", flush=True)
    answers = expected()
    home = Path(tempfile.mkdtemp(prefix="mux-demo-"))
    env = {**os.environ, "MUX_HOME": str(home), "PORT": str(free_port())}
    try:
        mux("deploy", "mux.yaml", env=env)
        try:
            ask_all(answers, env)
            mux("status", env=env)
            logs = mux("logs", "-n", "1000", "--grep", "oading model", env=env)
            check_logs(logs)
        finally:
            mux("down", env=env)
    except DemoFailed as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print("\nSix models answered from four slots; every answer was right; everything is down again.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
