"""PyTorch models of one shape and many weights, one file each. ``python app.py`` writes six to begin with."""

from pathlib import Path

import torch
from starlette.requests import Request


class Net(torch.nn.Module):
    """The one shape: three numbers in, one out. Replace it with yours."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(inputs)
        return result


def load_model(model_id: str, path: str) -> Net:
    """Load the weights of one model. ``path`` is a local file, wherever ``source`` points."""
    model = Net()
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return model.eval()


async def predict(model: Net, request: Request) -> torch.Tensor:
    """Answer one request; a tensor becomes a JSON list."""
    inputs = torch.tensor((await request.json())["inputs"], dtype=torch.float32)
    with torch.inference_mode():
        return model.forward(inputs)


def write_models(folder: Path, count: int = 6) -> None:
    """Write ``count`` models with different weights."""
    for number in range(1, count + 1):
        torch.manual_seed(number)
        path = folder / str(number) / "model.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(Net().state_dict(), path)
        print(f"wrote {path}")


if __name__ == "__main__":
    write_models(Path(__file__).parent / "models")
