"""The class form, as in Ray Serve's documentation: PyTorch weights in S3, loaded with boto3 on demand."""

from __future__ import annotations

import asyncio
import io
import os

import boto3
import torch
from starlette.requests import Request
from torch import nn

from runtime import serve


class ScoreModel(nn.Module):
    """What the files hold weights of."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs)


@serve.deployment
class ModelInferencer:
    def __init__(self) -> None:
        self.bucket = os.environ.get("MODEL_BUCKET", "my_bucket")
        self.s3 = boto3.client("s3")  # AWS_* variables and ~/.aws, as ever

    @serve.multiplexed(max_num_models_per_replica=3)
    async def get_model(self, model_id: str) -> nn.Module:
        weights = io.BytesIO()
        await asyncio.to_thread(self.s3.download_fileobj, self.bucket, f"{model_id}/model.pt", weights)
        weights.seek(0)
        model = ScoreModel()
        model.load_state_dict(torch.load(weights, weights_only=True))
        return model.eval()

    async def __call__(self, request: Request) -> dict[str, object]:
        model_id = serve.get_multiplexed_model_id()
        model = await self.get_model(model_id)
        inputs = torch.tensor((await request.json())["inputs"], dtype=torch.float32)
        with torch.inference_mode():
            return {"model": model_id, "outputs": model(inputs).tolist()}


entry = ModelInferencer.bind()
