"""A kind of routers: the expert that was right most often on the nearest examples."""

from __future__ import annotations

import torch
from torch import Tensor

from mpc_router.config.kind_traits import KindTraits
from mpc_router.routers.fitted_router import FitRows, FittedRouter, RouterSettings, RouterSizes

NEIGHBOURS = 15
KEPT = 500
"""Examples of the fit that are kept: they are part of every checkpoint."""


class Neighbours(FittedRouter):
    """Gives each expert's mean worth over the nearest examples of the fit."""

    traits = KindTraits()  # features alone, one expert a route, no settings but `router_gain`

    def __init__(self, kind: str, settings: RouterSettings, sizes: RouterSizes) -> None:
        super().__init__(kind, settings, sizes)
        self.register_buffer("examples", torch.zeros(KEPT, sizes.features))
        self.register_buffer("worth", torch.zeros(KEPT, len(sizes.paths)))

    def fit(self, rows: FitRows, *, seed: int) -> None:
        """Keeps examples, drawn again and again where there are fewer."""
        generator = torch.Generator().manual_seed(seed)
        kept = torch.randint(len(rows.features), (KEPT,), generator=generator)
        self.examples.copy_(rows.features[kept])
        self.worth.copy_(rows.worth(self.settings.gain)[kept])

    def forward(self, features: Tensor, outputs: Tensor | None) -> Tensor:
        """Gives gains (B, P) over the first path."""
        distances = (features[:, None] - self.examples).square().sum(-1)
        nearest = distances.topk(NEIGHBOURS, largest=False).indices
        worth = self.worth[nearest].mean(1)
        gains: Tensor = worth - worth[:, :1] + self.offset
        return gains
