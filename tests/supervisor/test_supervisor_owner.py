"""The process that a project ends with."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from runtime.supervisor import owner
from runtime.supervisor.owner import Owner
from tests.supervisor.waiting import soon

pytestmark = pytest.mark.anyio


def waiting() -> subprocess.Popen[bytes]:
    """Start a process that ends when its stdin does."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with waiting() as one:
        yield one


@pytest.fixture
def second() -> Iterator[subprocess.Popen[bytes]]:
    with waiting() as one:
        yield one


@pytest.fixture(params=["pidfd", "none", "forbidden"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(pid: int) -> int:
        raise OSError(errno.ENOSYS, "not in this sandbox")

    monkeypatch.setattr(owner, "LOOK_EVERY_S", 0.01)
    if request.param == "none":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif request.param == "forbidden":
        monkeypatch.setattr(os, "pidfd_open", forbidden, raising=False)


@pytest.mark.usefixtures("way")
async def test_the_end_of_the_watched_process_is_told_once(child: subprocess.Popen[bytes]) -> None:
    gone: list[int] = []
    watching = Owner(gone.append)
    watching.watch(child.pid)
    assert gone == []
    child.kill()
    child.wait()
    await soon(lambda: gone != [])
    watching.close()
    assert gone == [child.pid]


@pytest.mark.usefixtures("way")
async def test_a_process_that_has_ended_already_is_gone_at_once(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    gone: list[int] = []
    Owner(gone.append).watch(child.pid)
    assert gone == [child.pid]


@pytest.mark.usefixtures("way")
async def test_another_owner_or_none_takes_the_place_of_the_first(
    child: subprocess.Popen[bytes], second: subprocess.Popen[bytes]
) -> None:
    gone: list[int] = []
    watching = Owner(gone.append)
    watching.watch(child.pid)
    watching.watch(0)
    child.kill()
    child.wait()
    watching.watch(second.pid)
    second.kill()
    second.wait()
    await soon(lambda: gone != [])
    assert gone == [second.pid]
