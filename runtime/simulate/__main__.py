"""``python -m runtime.simulate --seed N [--count K]``: replay random stories with every invariant checked."""

from __future__ import annotations

import argparse
import sys

from runtime.simulate.invariants import InvariantBroken
from runtime.simulate.report import heading, row
from runtime.simulate.seeds import replay_command, story


def main() -> int:
    """Run the stories; exit with 1 at the first that breaks a rule."""
    parser = argparse.ArgumentParser(prog="python -m runtime.simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first story")
    parser.add_argument("--count", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--no-check", action="store_true", help="do not hold the invariants to every step")
    options = parser.parse_args()
    for seed in range(options.seed, options.seed + options.count):
        told = story(seed)
        if options.count == 1:
            print(f"{told}\n\n{heading()}")
        try:
            result = told.run(check=not options.no_check)
        except (InvariantBroken, AssertionError, LookupError) as broken:
            print(f"{told}\n{type(broken).__name__}: {broken}\nreplay: {replay_command(seed)}", file=sys.stderr)
            return 1
        if options.count == 1:
            print(row(result))
    if options.count > 1:
        print(f"{options.count} stories from seed {options.seed} on: every invariant held at every step")
    return 0


if __name__ == "__main__":
    sys.exit(main())
