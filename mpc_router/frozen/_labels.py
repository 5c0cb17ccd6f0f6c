"""Labels for a router, made of what the experts said on train, and how much each label weighs.

Ties go to the cheaper expert, under the costs that the trial trains with (of equal ones to the
first). Letters: L lanes, D distinct sets of labels, N examples, B batch, K experts, C outputs of
an expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mpc_router.config.trial import TrialConfig
from mpc_router.prepare.inputs import SplitOutputs

_ROWS: Final = 1 << 16
"""Rows at once: outputs are memory-mapped, and train may be large."""

Values = NDArray[np.float64]
Labels = NDArray[np.uint8]


def cheapest_right(
    outputs: NDArray[np.float32], truth: Values, costs: Sequence[float], *, regression: bool = False
) -> Labels:
    """Gives the cheapest expert that is right, (N,); the cheapest of all where none is.

    `outputs` is (N, K, C), `truth` (N,) class numbers or values, `costs` (K,). For a regression the
    expert with the least absolute error is right.
    """
    if regression:
        return _least(np.abs(outputs[..., 0] - truth[:, None]), costs)
    return _least(outputs.argmax(-1) != truth[:, None], costs)


def loss_and_cost(losses: Values, costs: Sequence[float], label_cost: float) -> Labels:
    """Gives argmin_k loss_nk + label_cost * cost_k, (N,), of losses (N, K)."""
    with np.errstate(over="ignore"):  # infinite for all but the free: the cheaper still wins
        return _least(losses + label_cost * np.asarray(costs, np.float64), costs)


def _least(values: NDArray[np.generic], costs: Sequence[float]) -> Labels:
    """Gives the expert with the least of values (N, K)."""
    cheapest_first = np.argsort(np.asarray(costs, np.float64), kind="stable")
    return np.asarray(cheapest_first[values[:, cheapest_first].argmin(-1)], np.uint8)


def expert_losses(
    outputs: NDArray[np.float32], truth: Values, *, regression: bool = False
) -> Values:
    """Gives each expert's loss on every example, (N, K): cross-entropy or squared error."""
    scores = outputs.astype(np.float64)
    if regression:
        return np.asarray(np.square(scores[..., 0] - truth[:, None]), np.float64)
    below = scores - scores.max(-1, keepdims=True)
    of_truth = np.take_along_axis(below, truth.astype(np.int64)[:, None, None], -1)[..., 0]
    return np.asarray(np.log(np.exp(below).sum(-1)) - of_truth, np.float64)


def label_weights(counts: NDArray[np.integer[Any]], class_balance: float) -> Values:
    """Gives 1 / n_eff of every label, scaled to mean 1, (K,); n_eff = (1 - b^n) / (1 - b).

    `counts` (K,) are the examples n of each label, b is `class_balance` from 0 (all alike) to
    below 1 (1/n in the limit). A label without examples weighs 0 and is no part of the mean, for
    there is nothing to weigh. Cui et al. 2019, arXiv:1901.05555.
    """
    n = np.asarray(counts, np.float64)
    present = n > 0
    if not present.any():
        raise ValueError("no label has an example; there is nothing to weigh")
    weights = np.zeros(len(n))
    # b^n as exp(n log b), and 1 - that without cancellation: b may be next to 1
    with np.errstate(divide="ignore"):
        weights[present] = (1 - class_balance) / -np.expm1(n[present] * np.log(class_balance))
    return np.asarray(weights / weights[present].mean(), np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Supervision:
    """Holds what a supervised stack learns: labels, their weights, the focal exponent."""

    labels: Tensor
    """(D, N) uint8: lanes with equal labels share them."""

    of_lane: Tensor
    """(L,) each lane's row of `labels`."""

    weights: Tensor
    """(L, K) of the labels."""

    gamma: Tensor
    """(L,)"""

    @classmethod
    def of(
        cls, configs: Sequence[TrialConfig], train: SplitOutputs, *, regression: bool, device: str
    ) -> Supervision:
        """Makes labels from the experts' outputs on train, each distinct set of labels once."""
        keys = [_key(config) for config in configs]
        distinct = list(dict.fromkeys(keys))
        labels = np.empty((len(distinct), len(train)), np.uint8)
        for start in range(0, len(train), _ROWS):
            block = slice(start, start + _ROWS)
            outputs, truth = train.outputs[block], train.labels[block]
            losses = expert_losses(outputs, truth, regression=regression)
            for row, (label_cost, costs) in enumerate(distinct):
                labels[row, block] = (
                    cheapest_right(outputs, truth, costs, regression=regression)
                    if label_cost is None
                    else loss_and_cost(losses, costs, label_cost)
                )
        counts = [
            np.bincount(row_of_labels, minlength=configs[0].experts) for row_of_labels in labels
        ]
        of_lane = [distinct.index(key) for key in keys]
        weights = [
            label_weights(counts[row], config.training.class_balance)
            for row, config in zip(of_lane, configs, strict=True)
        ]
        gamma = [config.training.focal_gamma for config in configs]
        return cls(
            labels=torch.from_numpy(labels).to(device),
            of_lane=torch.tensor(of_lane, device=device),
            weights=torch.tensor(np.stack(weights), dtype=torch.float32, device=device),
            gamma=torch.tensor(gamma, dtype=torch.float32, device=device),
        )

    def at(self, rows: Tensor) -> Tensor:
        """Gives the labels (L, B) of each lane's rows (L, B) of train."""
        return self.labels[self.of_lane.unsqueeze(-1), rows].long()

    def to(self, device: str) -> Supervision:
        """Gives the same on a device."""
        return Supervision(
            labels=self.labels.to(device),
            of_lane=self.of_lane.to(device),
            weights=self.weights.to(device),
            gamma=self.gamma.to(device),
        )

    def keep(self, places: Sequence[int]) -> Supervision:
        """Gives the supervision of the lanes at these places."""
        index = torch.tensor(places, dtype=torch.long, device=self.of_lane.device)
        return replace(
            self,
            of_lane=self.of_lane[index],
            weights=self.weights[index],
            gamma=self.gamma[index],
        )


def _key(config: TrialConfig) -> tuple[float | None, tuple[float, ...]]:
    """Gives equal keys for configurations with equal labels: lambda, if it counts, and costs."""
    training = config.training
    by_loss = training.router_labels == "loss_cost"
    return training.label_cost if by_loss else None, config.model.expert_costs
