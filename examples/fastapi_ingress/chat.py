"""Talk over the websocket: ``python chat.py URL LANGUAGE WORD...``."""

from __future__ import annotations

import sys

from websockets.sync.client import connect

if __name__ == "__main__":
    url, language, *words = sys.argv[1:]
    with connect(url, additional_headers={"serve_multiplexed_model_id": language}) as chat:
        for word in words:
            chat.send(word)
            print(word, "→", chat.recv(timeout=30))
