"""A plain script beside a deployed project: the same handles as inside it. ``python rank.py COUNTRY``."""

from __future__ import annotations

import sys

from runtime import serve

ITEMS = ["boots", "sandals", "sunscreen", "umbrella"]

if __name__ == "__main__":
    ranking = serve.get_deployment_handle("Ranking").options(multiplexed_model_id=sys.argv[1])
    try:
        print("first:", ranking.remote(ITEMS).result(timeout_s=30)[0])
        for place, item in enumerate(ranking.options(stream=True).one_by_one.remote(ITEMS), 1):
            print(f"{place}. {item}")
    except LookupError as error:  # as it was raised there, with the traceback of there
        print("refused:", error)
        print(str(error.__cause__).splitlines()[-1])
