"""The smallest deployment: a "model" is a greeting in one language."""

from __future__ import annotations

GREETINGS = {"en": "Hello", "de": "Hallo", "fr": "Bonjour", "es": "Hola", "it": "Ciao", "pt": "Olá"}


def load_model(model_id: str) -> str:
    """Return the model. Anything can be one; raise ``LookupError`` for an id that does not exist: a 404."""
    if model_id not in GREETINGS:
        raise LookupError(f"no greeting for language {model_id!r}")
    return GREETINGS[model_id]


def predict(model: str, inputs: str = "world") -> dict[str, str]:
    """Answer one request: ``inputs`` is that field of the JSON body."""
    return {"greeting": f"{model}, {inputs}!"}
