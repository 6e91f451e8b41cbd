"""A deployment whose load and work take known times, for mux. Loads are counted by bytes in ``$LOADS_FILE``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

LOAD_S = float(os.environ["LOAD_S"])
WORK_S = float(os.environ["WORK_S"])


async def load_model(model_id: str) -> str:
    with Path(os.environ["LOADS_FILE"]).open("ab") as counter:
        counter.write(b".")
    await asyncio.sleep(LOAD_S)
    return model_id


async def predict(model: str, request: object) -> dict[str, str]:
    await asyncio.sleep(WORK_S)
    return {"model": model}
