"""The code behind mux.example.yaml: models that are straight lines, read from JSON files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from runtime import serve


@dataclass
class Line:
    """A model: y = slope · x + intercept."""

    slope: float
    intercept: float

    def __call__(self, inputs: list[float]) -> list[float]:
        return [self.slope * x + self.intercept for x in inputs]


def load_model(model_id: str, path: Path) -> Line:
    """Read one model from the file that `source` led to."""
    return Line(**json.loads(Path(path).read_text()))


async def predict(model: Line, request: Request) -> dict[str, list[float]]:
    """Answer one request with the model that it names."""
    return {"outputs": model((await request.json())["inputs"])}


def unload_model(model: Line) -> None:
    """Say goodbye: a real one would close files or free device memory."""
    print(f"a line with slope {model.slope} goes")


@serve.deployment
class Steep:
    """The class style: the same lines, made steeper by a factor that can change without a restart."""

    def __init__(self) -> None:
        self.factor = 1.0

    def reconfigure(self, user_config: dict[str, float]) -> None:
        self.factor = user_config.get("factor", 1.0)

    @serve.multiplexed(max_num_models_per_replica=3)
    async def get_model(self, model_id: str) -> Line:
        return load_model(model_id, Path(__file__).parent / "models" / model_id / "line.json")

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        model = await self.get_model(serve.get_multiplexed_model_id())
        return {"outputs": [self.factor * y for y in model((await request.json())["inputs"])]}


entry = Steep.bind()
