"""Says which tensors the kept state of a stack has, so that a file from elsewhere can be checked.

Letters: L lanes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mpc_router.config.trial import TrialConfig
from mpc_router.frozen._best_epochs import BEST, BEST_EPOCH, BEST_NUMBERS
from mpc_router.frozen.randomness import starting_weights
from mpc_router.model.router import build_fitted


def state_shapes(config: TrialConfig, *, features: int, lanes: int) -> dict[str, Tensor]:
    """Gives tensors (L, ...) without content in the place of those of `StackState.tensors`."""
    fitted = config.model.fitted
    router: Mapping[str, Tensor] = (
        build_fitted(config, features).state_dict()
        if fitted
        else starting_weights(
            0,
            features=features,
            hidden_size=config.model.router_hidden_size,
            experts=config.experts,
        )
    )
    parts = ("weights",) if fitted else ("weights", "exp_avg", "exp_avg_sq")
    shapes: dict[str, Tensor] = {}
    for part in parts:
        for name, value in router.items():
            snapshot = torch.empty((lanes, *value.shape), dtype=value.dtype, device="meta")
            if not fitted:  # while it trains, a matrix lies transposed
                trained = snapshot.mT if snapshot.ndim == 3 else snapshot
                shapes[f"{part}.{name}"] = trained
            if config.training.epoch == "best_score":
                shapes[f"{BEST}{part}.{name}"] = snapshot
    if config.training.epoch == "best_score":
        shapes[BEST_EPOCH] = torch.empty(lanes, dtype=torch.int64, device="meta")
        shapes[BEST_NUMBERS] = torch.empty((lanes, 2), dtype=torch.float64, device="meta")
    return shapes


def misfit(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Says in words which tensor of a state has another shape or type; None where none has."""
    if odd := tensors.keys() ^ wanted.keys():
        return f"tensor {min(odd)!r} is {'missing' if min(odd) in wanted else 'unknown'}"
    for name, value in tensors.items():
        if _kind(value) != _kind(wanted[name]):
            return f"tensor {name!r} is {_kind(value)} in place of {_kind(wanted[name])}"
    return None


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    """Gives a tensor's shape and type."""
    return (*tensor.shape, tensor.dtype)
