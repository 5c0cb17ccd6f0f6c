"""Routers that look at features alone: the best expert by cluster, and experts by chance.

Letters: N examples, F features, G clusters, P paths.
"""

from __future__ import annotations

import itertools
from typing import Final

import torch
from torch import Tensor

from mpc_router.config import router_kinds as kinds
from mpc_router.routers.fitted_router import FitRows, FittedRouter, RouterSettings, RouterSizes

_ITERATIONS: Final = 200
_DRAWS: Final = 10
"""Starts of k-means, of which the tightest is kept."""


class ClusterRouter(FittedRouter):
    """Gives each path's mean worth in the cluster that an example's features fall into.

    Avengers-Pro (arXiv:2508.12631): k-means on features, the best expert a cluster.
    """

    traits = kinds.FITTED_KINDS[kinds.CLUSTERS]

    centres: Tensor
    """(G, F)"""

    gains: Tensor
    """(G, P) over the first path."""

    def __init__(self, kind: str, settings: RouterSettings, sizes: RouterSizes) -> None:
        super().__init__(kind, settings, sizes)
        self.register_buffer("centres", torch.zeros(settings.clusters, sizes.features))
        self.register_buffer("gains", torch.zeros(settings.clusters, len(sizes.paths)))

    def forward(self, features: Tensor, outputs: Tensor | None) -> Tensor:
        """Gives gains (B, P) of the nearest centre; of equally near ones the first."""
        return self.gains[_nearest(features.to(self.centres.dtype), self.centres)] + self.offset

    def fit(self, rows: FitRows, *, seed: int) -> None:
        """Fits centres by Lloyd's steps from k-means++ starts, the tightest of `_DRAWS`.

        Raises:
            ValueError: there are fewer examples than clusters, or a feature is not finite.
        """
        features, worth = rows.features.double(), rows.worth(self.settings.gain).double()
        clusters = len(self.centres)
        if len(features) < clusters:
            raise ValueError(
                f"{clusters} clusters of {len(features)} examples; take no more clusters"
            )
        if not features.isfinite().all():
            raise ValueError("an input of the router is NaN or infinite")
        generator = torch.Generator().manual_seed(seed)
        runs = [_lloyd(features, clusters, generator) for _ in range(_DRAWS)]
        self.centres.copy_(min(runs, key=lambda run: run[1])[0])
        place = _nearest(features.float(), self.centres)
        sums = torch.zeros(clusters, worth.shape[1], dtype=worth.dtype).index_add_(0, place, worth)
        means = sums / torch.bincount(place, minlength=clusters).clamp_min(1)[:, None]
        self.gains.copy_(means - means[:, :1])


class RandomRouter(FittedRouter):
    """Sends examples to experts by chance, at given shares: the control that knows nothing.

    The draw of an example is a hash of its features' signs, so that it is the same wherever the
    example comes by, and says nothing of it. `fit` draws the hash from the seed.
    """

    traits = kinds.FITTED_KINDS[kinds.RANDOM]

    factors: Tensor
    """(F,) float64, from 0 to 1."""

    ends: Tensor
    """(P + 1,) float64: a draw from `ends[p]` to `ends[p + 1]` takes path p."""

    def __init__(self, kind: str, settings: RouterSettings, sizes: RouterSizes) -> None:
        super().__init__(kind, settings, sizes)
        paths = len(sizes.paths)
        shares = settings.shares or (1 / paths,) * paths
        ends = [*itertools.accumulate(shares, initial=0.0)][:-1]
        self.register_buffer("factors", torch.zeros(sizes.features, dtype=torch.float64))
        self.register_buffer("ends", torch.tensor([*ends, 1.0], dtype=torch.float64))

    def forward(self, features: Tensor, outputs: Tensor | None) -> Tensor:
        """Gives (B, P): 1 for the path that is drawn, else 0."""
        draw = ((features >= 0).to(self.factors.dtype) * self.factors).sum(-1, keepdim=True)
        draw = draw - draw.floor()
        taken = (draw >= self.ends[:-1]) & (draw < self.ends[1:])
        return taken.to(self.offset.dtype) + self.offset

    def fit(self, rows: FitRows, *, seed: int) -> None:
        """Draws the hash; the rows say nothing."""
        generator = torch.Generator().manual_seed(seed)
        self.factors.copy_(torch.rand(len(self.factors), generator=generator, dtype=torch.float64))


def _nearest(inputs: Tensor, centres: Tensor) -> Tensor:
    """Gives the number of the nearest centre, (N,): of |x - c|^2 less |x|^2, the same for all."""
    # twice the centres: twice the inputs would be a second copy of them at every step
    return (centres.square().sum(-1) - inputs @ (2 * centres).T).argmin(-1)


def _lloyd(inputs: Tensor, clusters: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """Runs one k-means from a k-means++ start: centres (G, I), and the sum of squared distances."""
    first = torch.randint(len(inputs), (1,), generator=generator)
    centres = inputs[first]
    nearest = (inputs - centres).square().sum(-1)
    for _ in range(1, clusters):
        chances = nearest if float(nearest.sum()) > 0 else torch.ones_like(nearest)
        chosen = torch.multinomial(chances, 1, generator=generator)
        centres = torch.cat([centres, inputs[chosen]])
        nearest = torch.minimum(nearest, (inputs - inputs[chosen]).square().sum(-1))
    place = torch.full((len(inputs),), -1)
    for _ in range(_ITERATIONS):
        moved = _nearest(inputs, centres)
        if bool((moved == place).all()):
            break
        place = moved
        sums = torch.zeros_like(centres).index_add_(0, place, inputs)
        counts = torch.bincount(place, minlength=clusters)
        kept = counts > 0  # an empty cluster stays where it was
        centres = torch.where(kept[:, None], sums / counts.clamp_min(1)[:, None], centres)
    return centres, float((inputs - centres[place]).square().sum())
