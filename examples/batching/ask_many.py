"""Send 32 reviews in four languages at once, well mixed: ``python ask_many.py URL``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import requests

TEXTS = {"en": "what a great shop", "de": "gut und toll", "fr": "pas mal", "es": "genial"}


def ask(language: str) -> dict[str, object]:
    headers = {"serve_multiplexed_model_id": language}
    answer = requests.post(sys.argv[1], data=TEXTS[language], headers=headers, timeout=30)
    answer.raise_for_status()
    body: dict[str, object] = answer.json()
    return body


if __name__ == "__main__":
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, list(TEXTS) * 8))
    for language in TEXTS:
        own = [answer for answer in answers if answer["language"] == language]
        print(f"{language}: {len(own)} answers, all {own[0]['answer']}")
