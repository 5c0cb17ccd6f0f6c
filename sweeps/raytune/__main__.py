"""The program of the process that Ray runs in.

`sweeps.driver._supervisor` starts it, sends it the packs over a pipe, gets every message of the
workers, and ends it with all of Ray's processes. So a hanging or failing Ray cannot block the
process with the journal.
"""

from __future__ import annotations

import os
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from cluster.processes import descendants, kill
from sweeps.raytune._imports import without_garbage_collection
from sweeps.raytune._pipe import PipeEnd
from sweeps.records import SweepError


def main(connection: int, lifeline: int) -> None:
    """Starts or joins Ray, and runs what is then asked for; both numbers are of open files."""
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    pipe = PipeEnd(Connection(connection))
    with without_garbage_collection():
        from sweeps.raytune import ray_node
    try:
        ray_node.begin(pipe.told(), meanwhile=_tune_loop)
        _tune_loop().run(pipe)
    except EOFError:
        return
    except SweepError as error:
        pipe.ask("failed", reason=str(error))
    ray_node.end()


def _tune_loop() -> Any:
    """Imports Ray Tune, which takes about as long as Ray's processes take to begin."""
    with without_garbage_collection():
        from sweeps.raytune import tune_loop
    return tune_loop


def _end_with(lifeline: int) -> None:
    """Ends this process, and all of Ray's, as soon as the process with the journal has ended."""
    os.read(lifeline, 1)
    kill(descendants(os.getpid()))
    os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
