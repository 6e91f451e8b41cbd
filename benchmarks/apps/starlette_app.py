"""The same trivial handler on uvicorn and Starlette, without any routing by model."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def predict(request: Request) -> JSONResponse:
    return JSONResponse({"model": request.headers.get("serve-multiplexed-model-id", "")})


app = Starlette(routes=[Route("/", predict)])
