"""Says how many workers pay: each takes seconds to start, whatever it trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from mpc_router.run_names import TRAIN
from sweeps.plan.preparation import Ready
from sweeps.study.study import Study

_START: Final = 4.0
"""Gives the seconds of a processor until a worker trains: half of Ray and Tune, half of torch."""

_LEAST_GAIN: Final = 0.25
"""Gives the share of its start that a further worker has to save of the run's time."""

_STEP: Final = 1.1e-4
_STEP_PRODUCTS: Final = 32 * 256 * (128 + 3)
"""A router's step takes so many seconds of a processor, where a batch of 32, 256 hidden units, 128
features and 3 experts make so many products (`benchmarks/README.md`)."""


def paying_workers(available: int, seconds: float) -> int:
    """Gives how many of the available workers pay for a training of `seconds` on one of them.

    A further worker beside n pays if seconds / n - seconds / (n + 1) >= start / 4; at least one
    trains.
    """
    count = 1
    while count < available and seconds / (count * (count + 1)) >= _LEAST_GAIN * _START:
        count += 1
    return count


def training_seconds(study: Study, ready: Sequence[Ready]) -> float:
    """Estimates the seconds of a processor in which a study's routers train; infinity if unknown.

    Known are gated routers over frozen experts; all points count, as if none were stopped.
    """
    if any(
        item.prepared_set.joint or item.prepared_set.config.model.router_kind != "gated"
        for item in ready
    ):
        return float("inf")
    points = study.search.points if study.proposes else len(study.points())
    routers = points * len(study.first_seeds)
    return routers * max(_router_seconds(item) for item in ready)


def _router_seconds(item: Ready) -> float:
    """Estimates the seconds in which one router of a set trains."""
    config = item.prepared_set.config
    train: Any = item.inputs.splits[TRAIN]  # of a set with frozen experts: it has features
    rows, features = train.features.shape
    batch, hidden = config.training.batch_size, config.model.router_hidden_size
    products = batch * hidden * (features + config.experts)
    steps = config.training.epochs * math.ceil(rows / batch)
    return float(steps * _STEP * products / _STEP_PRODUCTS)
