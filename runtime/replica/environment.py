"""The process as user code finds it: import path, thread counts, interpreter settings."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from typing import Final

SWITCH_INTERVAL_S: Final = 0.0005  # beside a busy Python thread the loop waits this long for the interpreter, not 5 ms
_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def torch_threads(configured: int | None, replicas: int, cores: int) -> int:
    """Return how many threads one replica computes with: as configured, else its share of the cores."""
    return configured or max(1, cores // max(1, replicas))


def prepare(config_dir: str, threads: int, *, override: bool, env: MutableMapping[str, str] = os.environ) -> None:
    """Make ready for user code; before it, or any numeric library, is imported.

    ``override``: the config names the thread count, so it goes before what the shell says.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    os.chdir(config_dir)
    sys.path.insert(0, config_dir)
    for variable in _THREAD_VARIABLES:
        if override or not env.get(variable):
            env[variable] = str(threads)


def settle_torch(threads: int, env: MutableMapping[str, str] = os.environ) -> None:
    """Tell torch its thread count if user code has imported it; imported later, it reads the environment."""
    torch = sys.modules.get("torch")
    if torch is not None:
        said = env.get("OMP_NUM_THREADS", "")
        torch.set_num_threads(int(said) if said.isdigit() and int(said) > 0 else threads)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
