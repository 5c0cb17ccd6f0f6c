"""The program prints which nodes Ray counts as alive: `python -m cluster.probe HEAD NODES SECONDS`.

A line is the resources by node as JSON. It ends with 0 as soon as there are NODES of them, and with
1 after SECONDS.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Joins the cluster and prints its nodes twice a second; gives the exit code."""
    import ray

    address, wanted, seconds = arguments
    end = time.monotonic() + float(seconds)
    ray.init(address=address, log_to_driver=False, logging_level="error")
    while True:
        alive = {node["NodeName"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
        print(json.dumps(alive), flush=True)
        if len(alive) >= int(wanted):
            return 0
        if time.monotonic() > end:
            return 1
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
