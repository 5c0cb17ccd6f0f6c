"""Fits how the outputs of the experts on a path become its answer.

Letters: N examples, K experts, C outputs of an expert, P paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mpc_router.routers._predictor import minimise
from mpc_router.routes import LOGISTIC, Experts, Paths

_RIDGE = 1.0
"""Half of it times the squared weights is added to the summed loss, as in scikit-learn's default.
"""


def fitted_paths(
    paths: Sequence[Experts],
    combine: str,
    outputs: NDArray[np.float32],
    labels: NDArray[np.generic],
    *,
    regression: bool,
) -> Paths:
    """Gives the paths with their combination, fitted to outputs (N, K, C) and labels (N,).

    `logistic` is a multinomial logistic regression on the sum over the path's experts of a weight
    times their logits, plus an offset by class; of a regression the least squares of the same sum.

    Raises:
        ValueError: an output or a label is not finite.
    """
    unfitted = Paths.of(paths, experts=outputs.shape[1], outputs=outputs.shape[2], combine=combine)
    if combine != LOGISTIC:
        return unfitted
    if not (np.isfinite(outputs).all() and np.isfinite(np.asarray(labels, np.float64)).all()):
        raise ValueError("an output of an expert or a label is NaN or infinite")
    weights, offset = unfitted.weights.copy(), unfitted.offset.copy()
    for row, path in enumerate(paths):
        if len(path) > 1:
            spoken = torch.from_numpy(outputs[:, list(path)].astype(np.float64))
            truth = torch.from_numpy(np.array(labels, np.float64))
            fit = _least_squares if regression else _logistic
            by_expert, added = fit(spoken, truth)
            weights[row] = 0
            weights[row, list(path)] = by_expert.numpy()
            offset[row] = added.numpy()
    return replace(unfitted, weights=weights, offset=offset)


def _logistic(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the weights (k,) and offset (C,) of a logistic regression on outputs (N, k, C)."""
    weights = nn.Parameter(torch.full(outputs.shape[1:2], 1 / outputs.shape[1]).double())
    offset = nn.Parameter(torch.zeros(outputs.shape[2]).double())

    def objective() -> Tensor:
        logits = torch.einsum("nkc,k->nc", outputs, weights) + offset
        loss = nn.functional.cross_entropy(logits, labels.long(), reduction="sum")
        return loss + 0.5 * _RIDGE * (weights.square().sum() + offset.square().sum())

    minimise(objective, [weights, offset], examples=len(labels))
    return weights.detach(), offset.detach()


def _least_squares(outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the weights (k,) and offset (1,) of the least squared error on outputs (N, k, 1)."""
    columns = torch.cat([outputs[..., 0], torch.ones(len(labels), 1).double()], dim=1)
    solution = torch.linalg.lstsq(columns, labels[:, None], driver="gelsd").solution[:, 0]
    return solution[:-1], solution[-1:]
