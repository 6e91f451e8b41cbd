"""A process that fetches one model: ``python -m tests.stores.fetch_child ENDPOINT CACHE QUOTA MODEL_ID``.

It says ``ready``, waits for a line, fetches, says ``cache`` or ``downloaded``, and waits for the end of its input
before it lets go of the file.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from runtime.stores.store import S3Settings, open_store


async def main() -> None:
    endpoint, cache, quota, model_id = sys.argv[1:]
    settings = S3Settings(endpoint, "us-east-1", access_key_id="a", secret_access_key="b")
    store = open_store("s3://bucket/{model_id}/model.pt", Path(), Path(cache), settings, int(quota))
    print("ready", flush=True)
    sys.stdin.readline()
    fetched = await store.fetch(model_id, lambda fraction, done: None)
    print("cache" if fetched.from_cache else "downloaded", fetched.path, flush=True)
    sys.stdin.read()
    fetched.release()
    store.close()


asyncio.run(main())
