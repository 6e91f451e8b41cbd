"""The same trivial handler on Ray Serve, multiplexed. Runs in a virtual environment with ``ray[serve]``."""

import sys
import time

import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=2, max_ongoing_requests=100)
class Model:
    @serve.multiplexed(max_num_models_per_replica=4)
    async def get_model(self, model_id: str) -> str:
        return model_id

    async def __call__(self, request: Request) -> dict:
        return {"model": await self.get_model(serve.get_multiplexed_model_id())}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Model.bind())
    print("ready", flush=True)
    while sys.stdin.readline():
        time.sleep(0.1)
    serve.shutdown()
    ray.shutdown()
