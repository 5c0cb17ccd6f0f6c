"""One small sweep on two devices: the same losses, the same routes?"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.stack import EXPERTS, ROWS, generated
from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.frozen.train import Lane, train
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.records import EpochResult, LanesEnded
from mpc_router.run_names import SELECTION, TRAIN, VALIDATION

LOSS_TOLERANCE: Final = 1e-4
ROUTE_SHARE: Final = 0.999


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Compares a small sweep of this device with the same on the CPU."""

    largest_loss_difference: float
    equal_routes: float

    @property
    def holds(self) -> bool:
        """Says whether both tolerances hold."""
        return self.largest_loss_difference <= LOSS_TOLERANCE and self.equal_routes >= ROUTE_SHARE


def agreement(device: str, *, epochs: int) -> Agreement:
    """Trains a small sweep, 27 routers, on this device and on the CPU; compares them."""
    first, second = (swept(place, epochs=epochs) for place in ("cpu", device))
    return Agreement(
        largest_loss_difference=float(np.abs(first[0] - second[0]).max()),
        equal_routes=float((first[1] == second[1]).mean()),
    )


def swept(device: str, *, epochs: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Trains the grid's routers; gives losses (steps, 4, 27) and routes on validation (27, N)."""
    weights = (0.01, 0.1, 1.0)
    lanes = [
        Lane(config=a_trial(alpha, beta, epochs), seed=seed)
        for alpha in weights
        for beta in weights
        for seed in range(3)
    ]
    losses, routes = [], None
    for event in train(lanes, learnable(), device=device):
        if isinstance(event, EpochResult):
            assert event.steps is not None
            losses.append(event.steps)
        elif isinstance(event, LanesEnded):
            routes = event.routing[[part.split for part in event.routing].index(VALIDATION)].routes
    assert routes is not None
    return np.concatenate(losses), np.asarray(routes).astype(np.int64)


def a_trial(alpha: float, beta: float, epochs: int) -> TrialConfig:
    """Configures one trial of the small sweep."""
    return trial_config({"pool": "sample", "alpha": alpha, "beta": beta, "epochs": epochs})


def learnable() -> Prepared:
    """Gives generated examples on which the features say which expert is right."""
    prepared = generated()
    examples = prepared.splits[TRAIN]
    signal = torch.from_numpy(examples.features[:, :EXPERTS])
    right = signal.softmax(1) > 1 / EXPERTS
    labels = torch.from_numpy(examples.labels).long()
    sign = torch.where(right, 2.0, -2.0)
    outputs = torch.stack([-sign, sign], -1) * (2 * labels - 1)[:, None, None]
    examples = dataclasses.replace(examples, outputs=outputs.float().numpy())
    cuts = {TRAIN: (0, ROWS // 2), SELECTION: (ROWS // 2, 3 * ROWS // 4)}
    cuts[VALIDATION] = (3 * ROWS // 4, ROWS)
    splits = {
        name: dataclasses.replace(
            examples,
            split=name,
            features=examples.features[start:stop],
            outputs=examples.outputs[start:stop],
            labels=examples.labels[start:stop],
            example=examples.example[start:stop],
            tokens=examples.tokens[start:stop],
        )
        for name, (start, stop) in cuts.items()
    }
    return dataclasses.replace(
        prepared,
        splits=splits,
        split_notes=dict.fromkeys(splits),
        split_origin={name: TRAIN if name != VALIDATION else VALIDATION for name in splits},
    )
