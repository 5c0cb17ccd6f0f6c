"""One router trained as anyone would write it: a module, a loop, torch's own optimizer.

It is what the rivals of `benchmarks.side_by_side` run for a point and a seed: the features, outputs
and losses of a trial, five epochs, and after each the score and mean cost on two splits. Workers
import this file alone, and from it torch and numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Report = Callable[[dict[str, float]], object]
"""Told the numbers of an epoch."""


@dataclass(frozen=True, slots=True)
class Arrays:
    """Holds what routers learn from; N rows, F features, K experts, C classes."""

    train: dict[str, torch.Tensor]
    """features (N, F), outputs (N, K, C), labels (N,)."""

    splits: dict[str, dict[str, torch.Tensor]]
    """The splits that are scored, each as `train`."""

    costs: torch.Tensor
    """(K,)."""


def load(file: Path | str) -> Arrays:
    """Reads what `save` wrote."""
    with np.load(file) as arrays:
        names = sorted({name.split("/")[0] for name in arrays if "/" in name})
        splits = {
            name: {
                part: torch.from_numpy(arrays[f"{name}/{part}"])
                for part in ("features", "outputs", "labels")
            }
            for name in names
        }
        return Arrays(splits.pop("train"), splits, torch.from_numpy(arrays["costs"]))


def save(file: Path, splits: Mapping[str, Mapping[str, Any]], costs: Any) -> None:
    """Writes splits of numpy arrays by part, `train` among them, and the experts' costs."""
    named = {f"{name}/{part}": array for name, s in splits.items() for part, array in s.items()}
    np.savez(file, costs=np.asarray(costs, np.float32), **named)


def train(
    settings: Mapping[str, Any],
    data: Arrays,
    report: Report = lambda numbers: None,
    *,
    epochs: int,
    hidden: int = 256,
    batch: int = 32,
) -> dict[str, float]:
    """Trains one router on `alpha`, `beta` and `seed`; gives the numbers of its last epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(int(settings["seed"]))
    features, outputs, labels = (data.train[part] for part in ("features", "outputs", "labels"))
    rows, experts = outputs.shape[:2]
    router = nn.Sequential(
        nn.Linear(features.shape[1], hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, experts)
    )
    optimizer = torch.optim.AdamW(router.parameters(), lr=1e-3, weight_decay=0.01)
    numbers: dict[str, float] = {}
    for _ in range(epochs):
        router.train()
        for chosen in torch.split(torch.randperm(rows), batch):
            gates = functional.gumbel_softmax(router(features[chosen]), tau=1.0)
            mixed = (gates.unsqueeze(-1) * outputs[chosen]).sum(1)
            loss = functional.cross_entropy(mixed, labels[chosen])
            balance = experts * gates.mean(0).var(unbiased=False)
            cost = (gates @ data.costs).mean()
            loss = loss + settings["alpha"] * balance + settings["beta"] * cost
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        router.eval()
        with torch.no_grad():
            numbers = {}
            for name, split in data.splits.items():
                routes = router(split["features"]).argmax(1)
                answers = split["outputs"][torch.arange(len(routes)), routes].argmax(1)
                numbers[f"{name}_score"] = float((answers == split["labels"]).float().mean())
                numbers[f"{name}_cost"] = float(data.costs[routes].mean())
        report(numbers)
    return numbers
