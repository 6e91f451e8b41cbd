"""From outside: the header of a request, and a handle with a model id. ``python client.py URL``."""

from __future__ import annotations

import sys

import requests
from ray import serve

if __name__ == "__main__":
    header = {"serve_multiplexed_model_id": "outlet"}
    print(requests.get(f"{sys.argv[1]}/prices", params={"cost": 20}, headers=header, timeout=30).json())

    headlines = serve.get_deployment_handle("Headlines", app_name="default")
    print(headlines.options(multiplexed_model_id="fr").headline.remote("Nantes").result(timeout_s=30))
