"""The same deployment on Ray Serve: port, then settings from the environment."""

import asyncio
import os
import sys
import time

import ray
from ray import serve

LOAD_S, WORK_S = float(os.environ["LOAD_S"]), float(os.environ["WORK_S"])
SLOTS, LOADS_FILE = int(os.environ["SLOTS"]), os.environ["LOADS_FILE"]


@serve.deployment(num_replicas=int(os.environ["REPLICAS"]), max_ongoing_requests=int(os.environ["MAX_ONGOING"]))
class Model:
    @serve.multiplexed(max_num_models_per_replica=SLOTS)
    async def get_model(self, model_id: str) -> str:
        with open(LOADS_FILE, "ab") as counter:
            counter.write(b".")
        await asyncio.sleep(LOAD_S)
        return model_id

    async def __call__(self, request) -> dict:
        model = await self.get_model(serve.get_multiplexed_model_id())
        await asyncio.sleep(WORK_S)
        return {"model": model}


if __name__ == "__main__":
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Model.bind())
    print("ready", flush=True)
    while sys.stdin.readline():
        time.sleep(0.1)
    serve.shutdown()
    ray.shutdown()
