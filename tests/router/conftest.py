from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.router.fakes import House


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=["asgi", "fast"])
async def house(request: pytest.FixtureRequest, short_dir: Path) -> AsyncIterator[House]:
    """A router that is not started yet, in both shells."""
    one = House(short_dir, fast=request.param == "fast")
    yield one
    await one.stop()
