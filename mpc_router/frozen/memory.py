"""Estimates the memory that a stack takes of a GPU while it trains.

Letters: L lanes, N examples, B batch, F features, H hidden units, K experts, C outputs.
"""

from __future__ import annotations

import math
from typing import Final

from mpc_router.config.trial import TrialConfig
from mpc_router.frozen._stacked_routers import EVALUATED_ROWS
from mpc_router.frozen.state_shapes import state_shapes
from mpc_router.prepare.frozen import Prepared

_FLOAT: Final = 4
"""Bytes of a number."""


def stack_bytes(config: TrialConfig, prepared: Prepared, *, lanes: int) -> int:
    """Gives the bytes that a stack of so many lanes takes of its device at its peak, about.

    They are its state and a gradient as large as its weights, every split, and the numbers of
    the rows that are seen at once: of each lane its inputs, hidden units (before and after
    the activation, the mask, and their gradient) and experts' outputs.
    """
    features = len(prepared.feature_mean)
    state = state_shapes(config, features=features, lanes=lanes)
    weights = sum(value.nbytes for name, value in state.items() if name.startswith("weights."))
    splits = sum(
        split.features.nbytes + 2 * split.outputs.nbytes + split.labels.nbytes
        for split in prepared.splits.values()
    )
    rows = max(EVALUATED_ROWS, config.training.batch_size)
    outputs = math.prod(next(iter(prepared.splits.values())).outputs.shape[1:])
    numbers = features + 4 * config.model.router_hidden_size + 2 * outputs
    return (
        sum(value.nbytes for value in state.values())
        + weights
        + splits
        + _FLOAT * lanes * rows * numbers
    )


def stay_open(sizes: list[int], room: float) -> list[bool]:
    """Tells of stacks of these bytes which stay on a device that has room for so many.

    The others are there only while they train, one at a time: where not all have room at once,
    room is left for the largest of all.
    """
    if sum(sizes) <= room:
        return [True] * len(sizes)
    left = room - max(sizes)
    stays = []
    for size in sizes:
        stays.append(size <= left)
        left -= size if stays[-1] else 0
    return stays
