"""Weights in S3, loaded when a request first names them."""

from __future__ import annotations

import asyncio
import io
import os

import boto3
import torch
from starlette.requests import Request

from runtime import serve


@serve.deployment
class SpamFilter:
    def __init__(self) -> None:
        self.bucket = os.environ["MODEL_BUCKET"]
        self.s3 = boto3.client("s3")

    @serve.multiplexed(max_num_models_per_replica=3)
    async def get_weights(self, model_id: str) -> torch.Tensor:
        file = io.BytesIO()
        await asyncio.to_thread(self.s3.download_fileobj, self.bucket, f"{model_id}/model.pt", file)
        file.seek(0)
        weights: torch.Tensor = torch.load(file, weights_only=True)
        return weights

    async def __call__(self, request: Request) -> dict[str, object]:
        model_id = serve.get_multiplexed_model_id()
        weights = await self.get_weights(model_id)
        features = torch.tensor(await request.json(), dtype=torch.float32)
        return {"model": model_id, "spam": bool(weights @ features > 0)}


app = SpamFilter.bind()
