"""The deployments of ``calls.py`` on Ray Serve; its workers import them, so they are told where from."""

import os
import sys
import time
from pathlib import Path

os.environ["CALLS_ON"] = "ray"
os.environ["PYTHONPATH"] = str(Path(__file__).parent)

import ray
from calls import app, batched
from ray import serve

if __name__ == "__main__":
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(app)
    serve.run(batched, name="batched", route_prefix="/batched")
    print("ready", flush=True)
    while sys.stdin.readline():
        time.sleep(0.1)
    serve.shutdown()
    ray.shutdown()
