"""``@serve.batch`` through the router: one batch, one model; many models fill their batches as one does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import pytest
import requests

from tests.e2e.deployed import deployed, project

pytestmark = pytest.mark.process

YAML = """
deployments:
  - {name: Batched, import_path: "app:app"}
"""
CLIENTS = 64
REQUESTS = 1280


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with deployed(project("batched", YAML, tmp_path_factory.mktemp("batched"))) as cli:
        yield cli.url()


async def average_batch(url: str, models: int) -> float:
    """Ask as ``CLIENTS`` clients do, every one of any model in turn, and return how full a batch was."""
    numbers, shares = iter(range(REQUESTS)), 0.0

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal shares
        for number in numbers:
            header = {"serve_multiplexed_model_id": f"m{number % models}"}
            async with session.get(url, params={"x": str(number)}, headers=header) as answer:
                body: dict[str, Any] = await answer.json()
            assert (body["model"], body["x"]) == (f"m{number % models}", number)
            shares += 1 / body["batch"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    return REQUESTS / shares


def test_eight_models_fill_their_batches_as_one_does(url: str) -> None:
    one = asyncio.run(average_batch(url, 1))
    eight = asyncio.run(average_batch(url, 8))
    assert one > 6
    assert eight >= 0.9 * one


def test_a_failing_batch_fails_its_own_members_only(url: str) -> None:
    def ask(number: int) -> tuple[str, int]:
        model = "bad" if number % 2 else "good"
        value = -1 if number == 1 else number
        header = {"serve_multiplexed_model_id": model}
        return model, requests.get(url, params={"x": str(value)}, headers=header, timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert {status for model, status in answers if model == "good"} == {200}
    assert 500 in {status for model, status in answers if model == "bad"}


def test_a_streaming_batch_gives_every_member_its_own_items(url: str) -> None:
    words = ["one", "three", "seventeen", "x"]

    def spell(word: str) -> str:
        header = {"serve_multiplexed_model_id": "m0"}
        return requests.get(url, params={"word": word}, headers=header, timeout=30).text

    with ThreadPoolExecutor(4) as pool:
        assert [each.replace("\n", "") for each in pool.map(spell, words)] == words
