"""Loads and requests that take known times."""

from __future__ import annotations

import asyncio
import os

LOAD_S = float(os.environ["LOAD_S"])
WORK_S = float(os.environ["WORK_S"])


async def load_model(model_id: str) -> str:
    await asyncio.sleep(LOAD_S)
    return model_id


async def predict(model: str, request: object) -> dict[str, str]:
    await asyncio.sleep(WORK_S)
    return {"model": model}
