"""``http.cpu_latency_us`` on this machine, which may let its user set it or not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.cpu_latency import DEVICE, refusal
from tests.e2e.deployed import until
from tests.e2e.rough import YAML, rough

pytestmark = pytest.mark.process


def holds(pid: int) -> bool:
    return any(os.path.realpath(file) == str(DEVICE) for file in Path(f"/proc/{pid}/fd").iterdir())


def test_the_router_holds_it_from_the_first_requests_on_or_the_deploy_is_refused() -> None:
    http = "port: 0, cpu_latency_us: 2000"
    if why := refusal(2000):
        with pytest.raises(AssertionError, match=r"http\.cpu_latency_us cannot be had"), rough(YAML, http=http):
            pytest.fail(f"deployed, although {why}")
        return
    with rough(YAML, http=http) as app:
        router = app.pids()["router-0"]
        assert not holds(router)

        def held() -> bool:
            assert app.ask(model="a").status == 200
            return holds(router)

        until(held, "the router to hold the device")
        app.edit(", cpu_latency_us: 2000", "")
        app.cli.run("deploy")
        assert not holds(app.pids()["router-0"])
