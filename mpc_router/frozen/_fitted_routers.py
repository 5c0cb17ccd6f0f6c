"""Routers of a stack that are fitted at once, in the place of `StackedRouters`.

A fitted router is what it is after its first epoch. It reports the same numbers after every
further one, so that it may stand in a study beside routers that are trained by steps, and be
ranked, stopped and resumed as these are. Lanes that differ in `router_bias` alone share a fit.

Letters: L lanes, N examples, M numbers of a router.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from mpc_router.config.keys import applied, canonical
from mpc_router.config.trial import TrialConfig
from mpc_router.frozen._labels import expert_losses
from mpc_router.frozen._stacked_routers import SplitTensors, route_offset
from mpc_router.frozen.lanes import Lane
from mpc_router.model.router import build_fitted
from mpc_router.routers.fitted_router import FitRows

_ROWS: Final = 1 << 12
"""Rows evaluated at once."""


class FittedRouters:
    """Holds routers of one kind and shape as stacked tensors, fitted to train when it is made."""

    def __init__(
        self, lanes: Sequence[Lane], train: SplitTensors, *, regression: bool, device: str
    ) -> None:
        self.lanes = list(lanes)
        self.device = device
        self.config = lanes[0].config
        self._regression = regression
        self.errors: dict[int, str] = {}
        """It says by place of a lane, before any has left, why it could not be fitted."""
        self._router = build_fitted(self.config, train.features.shape[1]).eval()
        rows = self._rows(train)
        fits: dict[str, dict[str, Tensor] | str] = {}
        states = []
        for place, lane in enumerate(lanes):
            name = canonical([_fit_settings(lane.config), lane.seed])
            if name not in fits:
                fits[name] = self._fitted(lane, rows)
            state = fits[name]
            if isinstance(state, str):
                self.errors[place] = state
                empty = self._router.state_dict()
                state = {key: torch.full_like(value, torch.nan) for key, value in empty.items()}
            states.append(state | {"offset": state["offset"] + route_offset(lane.config)})
        self.weights = {
            key: torch.stack([state[key] for state in states]).to(device) for key in states[0]
        }

    def _fitted(self, lane: Lane, rows: FitRows) -> dict[str, Tensor] | str:
        """Gives the state of a lane's fitted router, or why there is none."""
        router = build_fitted(lane.config, rows.features.shape[1])
        try:
            router.fit(rows, seed=lane.seed)
        except ValueError as error:
            return str(error)
        return router.state_dict()

    def _rows(self, train: SplitTensors) -> FitRows:
        """Gives what the routers are fitted to, on the processor."""
        answers = np.asarray(train.answers_of_split.outputs)
        truth = np.asarray(train.answers_of_split.labels)
        losses = expert_losses(answers, truth, regression=self._regression)
        if self._regression:
            right = losses == losses.min(axis=1, keepdims=True)
        else:
            right = answers.argmax(-1) == truth[:, None]
        return FitRows(
            features=train.standardised(slice(0, len(train))).cpu(),
            outputs=train.outputs.cpu(),
            right=torch.from_numpy(right.astype(np.float64)),
            losses=torch.from_numpy(losses),
        )

    def __len__(self) -> int:
        return len(self.lanes)

    def snapshot(self) -> dict[str, Tensor]:
        """Copies the weights (L, ...) by name, `weights.<name>`; there are no moments."""
        return {f"weights.{name}": value.clone() for name, value in self.weights.items()}

    def state(self) -> dict[str, Tensor]:
        """Gives nothing: the same routers are fitted again in a moment."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], *, steps: int) -> None:
        """Changes nothing, for the routers were fitted when they were made."""

    def move(self, device: str, *, steps: int) -> None:
        """Takes the weights to a device."""
        self.device = device
        self.weights = {name: value.to(device) for name, value in self.weights.items()}

    def keep(self, places: Sequence[int]) -> None:
        """Keeps the lanes at these places and drops the others."""
        index = torch.tensor(places, dtype=torch.long, device=self.device)
        self.weights = {name: value[index] for name, value in self.weights.items()}
        self.lanes = [self.lanes[place] for place in places]

    @torch.no_grad()
    def logits(
        self, split: SplitTensors, weights: Mapping[str, Tensor] | None = None
    ) -> NDArray[np.float32]:
        """Gives the routers' numbers (L, N, M) over a split, the bias taken off.

        `weights` (L, ...) stand in for the present ones.
        """
        used = dict(self.weights if weights is None else weights)
        lanes = len(next(iter(used.values())))
        width = self._router.decisions.width
        logits = np.empty((lanes, len(split), width), np.float32)
        for start in range(0, len(split) if lanes else 0, _ROWS):
            rows = slice(start, start + _ROWS)
            router = self._router
            inputs = (
                split.standardised(rows) if router.takes_features else None,
                split.outputs[rows] if router.traits.sees_outputs else None,
            )
            for lane in range(lanes):  # one by one, so that no lane's numbers see its company
                state = {name: value[lane] for name, value in used.items()}
                gains = functional_call(router, state, inputs)
                logits[lane, rows] = gains.cpu().numpy()
        return logits


def _fit_settings(config: TrialConfig) -> dict[str, object]:
    """Gives the settings that a fit depends on."""
    return {name: value for name, value in applied(config).items() if name != "router_bias"}
