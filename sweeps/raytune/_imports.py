"""Imports without collecting garbage meanwhile, which would take up to a fifth of the time.

What is imported stays, so that there is nothing to collect.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collects no garbage for the time of the block."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def ray_tune() -> Any:
    """Imports Ray Tune."""
    with without_garbage_collection():
        from ray import tune
    return tune


def run_pack() -> Any:
    """Imports what trains a pack, with torch, which Ray's own process does without."""
    with without_garbage_collection():
        from sweeps.worker.pack import run_pack
    return run_pack
