"""One trivial JSON handler behind four models: what the HTTP benchmark asks of mux."""

from __future__ import annotations

from starlette.requests import Request


def load_model(model_id: str) -> str:
    return model_id


async def predict(model: str, request: Request) -> dict[str, str]:
    return {"model": model}
