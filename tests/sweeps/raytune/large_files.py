"""Sends a large file from a node of a cluster to a run's folder, and watches the memory meanwhile.

`python -m tests.sweeps.raytune.large_files ADDRESS RUN MEGABYTES` prints as JSON: the most MB of
this process, whose place in a sweep is that of Ray Tune, and of the depot; the longest time between
two turns of this process in seconds; whether the file arrived.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import ray

from sweeps.raytune._depot import depot
from sweeps.raytune._returning import Returns, caller
from sweeps.raytune._ship import on_node


class Writer:
    """Writes a file below a folder of its node and sends it, as a pack's worker does."""

    def send(self, depot_name: str, megabytes: int) -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "states", "large")
            path.parent.mkdir()
            with path.open("wb") as file:
                for number in range(megabytes):
                    file.write(number.to_bytes(4, "big") * (2**20 // 4))
            call = caller(ray.get_actor(depot_name))
            Returns(home=Path(folder), call=call, keys=[]).send()
        return megabytes


def memory(process: psutil.Process) -> float:
    """Gives the MB of a process that no other one has."""
    with contextlib.suppress(psutil.Error):
        return float(process.memory_full_info().uss) / 2**20
    return 0.0


def main(arguments: Sequence[str]) -> None:
    address, run, megabytes = arguments
    ray.init(address=address, log_to_driver=False, logging_level="error")
    other = next(node["NodeID"] for node in ray.nodes() if node["NodeName"] == "worker1")
    here, most = psutil.Process(), [0.0, 0.0]
    with depot([], Path(run), lambda: None) as depot_name:
        writer: Any = ray.remote(Writer).options(**on_node(other)).remote()
        sending = [writer.send.remote(depot_name, int(megabytes))]
        depots = [process for process in psutil.process_iter() if "Depot" in process.name()]
        turns = [time.monotonic()]
        while not ray.wait(sending, timeout=0.1)[0]:
            most[0] = max(most[0], memory(here))
            most[1] = max([most[1], *map(memory, depots)])
            turns.append(time.monotonic())
        size = ray.get(sending[0]) * 2**20
    silence = max(after - before for before, after in itertools.pairwise(turns))
    arrived = Path(run, "states", "large").stat().st_size == size
    print(json.dumps({"ours": most[0], "depot": most[1], "silence": silence, "arrived": arrived}))


if __name__ == "__main__":
    main(sys.argv[1:])
