"""PyTorch models from a bucket. mux downloads each object once a machine and hands its local path to the loader."""

import torch
from starlette.requests import Request


class Net(torch.nn.Module):
    """The shape of the models in the bucket: three numbers in, one out. Replace it with yours."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(inputs)
        return result


def load_model(model_id: str, path: str) -> Net:
    """Load the weights of one model from the downloaded file."""
    model = Net()
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return model.eval()


async def predict(model: Net, request: Request) -> torch.Tensor:
    """Answer one request; a tensor becomes a JSON list."""
    inputs = torch.tensor((await request.json())["inputs"], dtype=torch.float32)
    with torch.inference_mode():
        return model.forward(inputs)
