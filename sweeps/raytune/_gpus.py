"""The module tells which GPUs a worker has from Ray, without Tune, which takes long to import."""

from __future__ import annotations

import os
from typing import Final

import ray

HIDE_GPUS: Final = {
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "-1",  # AMD's: an empty list would not count
    "ROCR_VISIBLE_DEVICES": "-1",
}


def own_gpus() -> list[str]:
    """Gives the GPUs that Ray gives this worker, by their names on its node.

    Where Ray gives none, torch sees none from now on: Ray shows all GPUs to a worker that asks for
    none, and all such workers would take the first.
    """
    gpus = [str(gpu) for gpu in ray.get_gpu_ids()]
    if not gpus:
        os.environ.update(HIDE_GPUS)
    return gpus
