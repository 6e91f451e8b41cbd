"""A model can be anything that a function returns for an id. Here it is a greeter that takes a moment to load."""

import time

from starlette.requests import Request


class Greeter:
    """A stand-in for a model: replace it with yours."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id

    def greet(self, inputs: object) -> dict[str, object]:
        return {"model": self.model_id, "greeting": f"Hello from model {self.model_id}!", "inputs": inputs}


def load_model(model_id: str) -> Greeter:
    """Load one model. Raise KeyError or FileNotFoundError for an id that does not exist."""
    time.sleep(0.5)  # what reading a file or a bucket costs; this runs beside the requests, not in their way
    print(f"model {model_id} is ready")
    return Greeter(model_id)


async def predict(model: Greeter, request: Request) -> dict[str, object]:
    """Answer one request with the model that it named."""
    body = await request.body()
    return model.greet((await request.json()).get("inputs") if body else None)
