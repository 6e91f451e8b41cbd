"""A deploy in the foreground, with fake children. Run as a script: ROOT SOCKETS."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from runtime.supervisor.api import ApplyRequest, Event
from runtime.supervisor.foreground import run_foreground
from runtime.supervisor.main import opened
from tests.supervisor.fake_supervisor import make


def tell(event: Event) -> None:
    print(event.kind, event.message, flush=True)


if __name__ == "__main__":
    config = {"name": "shop", "http": {"port": 0}, "deployments": [{"name": "Model", "loader": "app:load"}]}
    request = ApplyRequest(config=config, env=dict(os.environ), digests={})
    sys.exit(run_foreground(opened(Path(sys.argv[1]), Path(sys.argv[2])), request, tell, make))
