"""Routers that predict, of what experts have said, which paths are worth going on with."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from mpc_router.config import router_kinds as kinds
from mpc_router.routers._output_features import output_features, output_width, sure_features
from mpc_router.routers._predictor import Predictor
from mpc_router.routers.fitted_router import FitRows, FittedRouter, RouterSettings, RouterSizes
from mpc_router.routes import Experts

_NEVER: Final = 1e-3
"""It is added to a threshold of 1, so that no chance reaches it."""


class PathRouter(FittedRouter):
    """Predicts at every state what each open path gains over stopping there.

    With one state it is a predictive router (Tryage, arXiv:2308.11601, predicts losses; deferral,
    arXiv:2307.02764, who is right); with more a sequential one (cascade routing, arXiv:2410.10347).
    """

    traits = kinds.FITTED_KINDS[kinds.SEQUENTIAL]

    def __init__(self, kind: str, settings: RouterSettings, sizes: RouterSizes) -> None:
        super().__init__(kind, settings, sizes)
        width = output_width(sizes.outputs, regression=sizes.regression)
        features = sizes.features if settings.sees_features else 0
        self.predictors = nn.ModuleList(
            Predictor(
                len(self.spoken(state)) * width + features,
                len(paths),
                hidden_size=settings.hidden_size,
                gain=settings.gain,
            )
            for state, paths in zip(self.decisions.states, self.decisions.open_paths, strict=True)
        )

    def _inputs(self, state: Experts, features: Tensor | None, outputs: Tensor) -> Tensor:
        regression = self.sizes.regression
        seen = [
            output_features(outputs[..., expert, :], regression=regression)
            for expert in self.spoken(state)
        ]
        if self.takes_features:
            assert features is not None
            seen.append(features)
        return torch.cat(seen, dim=-1)

    def forward(self, features: Tensor | None, outputs: Tensor) -> Tensor:
        """Gives gains (B, M) over the path that stops in the state, plus the offset."""
        gains = []
        for state, predictor in zip(self.decisions.states, self.predictors, strict=True):
            worth = predictor(self._inputs(state, features, outputs))
            gains.append(worth - worth[..., :1])
        return torch.cat(gains, dim=-1) + self.offset

    def fit(self, rows: FitRows, *, seed: int) -> None:
        """Fits the model of every state to all rows.

        Raises:
            ValueError: an input is not finite.
        """
        targets = rows.right if self.settings.gain == "right" else rows.losses
        open_paths = self.decisions.open_paths
        for place, predictor in enumerate(self.predictors):
            assert isinstance(predictor, Predictor)
            predictor.fit(
                self._inputs(self.decisions.states[place], rows.features, rows.outputs),
                targets[:, list(open_paths[place])],
                ridge=self.settings.ridge,
                seed=seed,
            )


class CascadeRouter(FittedRouter):
    """Goes on to the next expert where the last one's chance of being right is too low.

    The chance is logistic in the margin, class by class (Platt's scaling), so that a threshold on
    it is a threshold on the margin of its own for every predicted class.
    """

    traits = kinds.FITTED_KINDS[kinds.CASCADE]

    def __init__(self, kind: str, settings: RouterSettings, sizes: RouterSizes) -> None:
        super().__init__(kind, settings, sizes)
        self.predictors = nn.ModuleList(
            Predictor(2 * sizes.outputs, 1) for _ in self.decisions.states
        )
        self.threshold: Tensor
        threshold = settings.threshold + (_NEVER if settings.threshold == 1 else 0)
        self.register_buffer("threshold", torch.tensor(threshold))

    def forward(self, features: Tensor | None, outputs: Tensor) -> Tensor:
        """Gives (B, M): at each state the chance of being right, then the threshold."""
        numbers = []
        for place, predictor in enumerate(self.predictors):
            assert isinstance(predictor, Predictor)
            last = self.decisions.states[place][-1]
            chance = predictor(sure_features(outputs[..., last, :]))
            others = len(self.decisions.open_paths[place]) - 1
            numbers += [chance, self.threshold.expand(*chance.shape[:-1], others)]
        return torch.cat(numbers, dim=-1) + self.offset

    def fit(self, rows: FitRows, *, seed: int) -> None:
        """Fits the chance that what a state answers is right.

        Raises:
            ValueError: an input is not finite.
        """
        for place, predictor in enumerate(self.predictors):
            assert isinstance(predictor, Predictor)
            stop = self.decisions.open_paths[place][0]
            predictor.fit(
                sure_features(rows.outputs[:, self.decisions.states[place][-1]]),
                rows.right[:, stop : stop + 1],
                ridge=self.settings.ridge,
                seed=seed,
            )
