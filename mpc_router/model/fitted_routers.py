"""Routers that are fitted at once rather than trained by steps: predictive and clusters.

Each gives logits (B, K) of its inputs (B, I) in a unit that a bias can weigh against cost: expected
gains over the first expert. Letters: N examples of the fit, B of a batch, I inputs, K experts.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

_ITERATIONS: Final = 200
_LEAST_DEVIATION: Final = 1e-6
_DRAWS: Final = 10
"""Starts of k-means, of which the tightest is kept."""


class PredictiveRouter(nn.Module):
    """Predicts what each expert gains over the first, by a linear model or a small network.

    Tryage (arXiv:2308.11601) predicts losses; deferral (arXiv:2307.02764) who is right. The route
    is argmax_k gain_k - bias cost_k.
    """

    input_mean: Tensor
    input_deviation: Tensor
    scale: Tensor
    offset: Tensor
    """(K,) added to the gains: less a bias times cost, once it is folded in."""

    sees_outputs: Final = True

    def __init__(
        self,
        inputs: int,
        experts: int,
        *,
        hidden_size: int = 0,
        gain: str = "right",
        sees_features: bool = False,
    ) -> None:
        super().__init__()
        self.gain = gain
        self.sees_features = sees_features
        self.hidden_size = hidden_size
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_deviation", torch.ones(inputs))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("offset", torch.zeros(experts))
        if hidden_size:
            self.hidden: nn.Module = nn.Linear(inputs, hidden_size)
            self.out = nn.Linear(hidden_size, experts)
        else:
            self.hidden = nn.Identity()
            self.out = nn.Linear(inputs, experts)

    def raw(self, inputs: Tensor) -> Tensor:
        """Gives by expert (B, K) the log-odds of being right, or the expected loss over `scale`."""
        standard = (inputs.to(self.input_mean.dtype) - self.input_mean) / self.input_deviation
        hidden = self.hidden(standard)
        raw: Tensor = self.out(torch.tanh(hidden) if self.hidden_size else hidden)
        return raw

    def forward(self, inputs: Tensor) -> Tensor:
        """Gives gains (B, K) over the first expert, whose own is 0, plus the offset."""
        raw = self.raw(inputs)
        worth = torch.sigmoid(raw) if self.gain == "right" else -raw * self.scale
        return worth - worth[..., :1] + self.offset


def fit_predictive(
    router: PredictiveRouter, inputs: Tensor, targets: Tensor, *, ridge: float, seed: int
) -> None:
    """Fits the router in place: inputs (N, I), targets (N, K), right (0 or 1) or losses by expert.

    The objective is the summed cross-entropy (of losses half the squared error, in units of their
    deviation) + ridge / 2 |w|^2 over weights, not biases, as in scikit-learn with C = 1 / ridge;
    minimised by L-BFGS in float64. `seed` draws where a network starts; a linear one starts at 0.

    Raises:
        ValueError: an input or target is not finite.
    """
    inputs, targets = inputs.double(), targets.double()
    if not (inputs.isfinite().all() and targets.isfinite().all()):
        raise ValueError("an input or a target of the router is NaN or infinite")
    router.double()
    deviation = inputs.std(dim=0, unbiased=False)
    router.input_mean.copy_(inputs.mean(dim=0))
    router.input_deviation.copy_(torch.where(deviation < _LEAST_DEVIATION, 1.0, deviation))
    if router.gain == "loss":
        spread = targets.std(unbiased=False)
        router.scale.copy_(torch.where(spread < _LEAST_DEVIATION, 1.0, spread))
        targets = targets / router.scale
    _start(router, torch.Generator().manual_seed(seed))
    weights = [value for value in router.parameters() if value.ndim > 1]
    optimizer = torch.optim.LBFGS(
        list(router.parameters()),
        max_iter=_ITERATIONS,
        tolerance_grad=1e-9 * len(inputs),
        tolerance_change=1e-12 * len(inputs),
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        raw = router.raw(inputs)
        if router.gain == "right":
            loss = nn.functional.binary_cross_entropy_with_logits(raw, targets, reduction="sum")
        else:
            loss = 0.5 * (raw - targets).square().sum()
        loss = loss + 0.5 * ridge * sum(value.square().sum() for value in weights)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    router.float()


@torch.no_grad()
def _start(router: PredictiveRouter, generator: torch.Generator) -> None:
    for value in router.parameters():
        value.zero_()
    if router.hidden_size:
        for layer in (router.hidden, router.out):
            weight: Tensor = layer.weight  # type: ignore[assignment]
            drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
            weight.copy_(drawn / weight.shape[1] ** 0.5)


class ClusterRouter(nn.Module):
    """Gives each expert's mean score in the cluster that an example's features fall into.

    Avengers-Pro (arXiv:2508.12631): k-means on features, the best expert a cluster.
    """

    centres: Tensor
    """(G, I)"""

    gains: Tensor
    """(G, K) over the first expert."""

    offset: Tensor
    """(K,), as a predictive router's."""

    sees_outputs: Final = False
    sees_features: Final = True

    def __init__(self, inputs: int, experts: int, *, clusters: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(clusters, inputs))
        self.register_buffer("gains", torch.zeros(clusters, experts))
        self.register_buffer("offset", torch.zeros(experts))

    def forward(self, inputs: Tensor) -> Tensor:
        """Gives gains (B, K) of the nearest centre; of equally near ones the first."""
        return self.gains[_nearest(inputs.to(self.centres.dtype), self.centres)] + self.offset


FITTED_ROUTERS: Final = (PredictiveRouter, ClusterRouter)


def fit_clusters(router: ClusterRouter, inputs: Tensor, worth: Tensor, *, seed: int) -> None:
    """Fits the router in place: inputs (N, I), worth (N, K) of each expert, such as being right.

    K-means by Lloyd's steps from k-means++ starts, the tightest of `_DRAWS`.

    Raises:
        ValueError: there are fewer examples than clusters, or an input is not finite.
    """
    inputs, worth = inputs.double(), worth.double()
    clusters = len(router.centres)
    if len(inputs) < clusters:
        raise ValueError(f"{clusters} clusters of {len(inputs)} examples; take no more clusters")
    if not inputs.isfinite().all():
        raise ValueError("an input of the router is NaN or infinite")
    generator = torch.Generator().manual_seed(seed)
    runs = [_lloyd(inputs, clusters, generator) for _ in range(_DRAWS)]
    centres = min(runs, key=lambda run: run[1])[0]
    router.centres.copy_(centres)
    place = _nearest(inputs.float(), router.centres)
    sums = torch.zeros(clusters, worth.shape[1], dtype=worth.dtype).index_add_(0, place, worth)
    counts = torch.bincount(place, minlength=clusters).clamp_min(1)
    means = sums / counts[:, None]
    router.gains.copy_(means - means[:, :1])


def _nearest(inputs: Tensor, centres: Tensor) -> Tensor:
    """Gives the number of the nearest centre, (N,): of |x - c|^2 less |x|^2, the same for all."""
    return (centres.square().sum(-1) - 2 * inputs @ centres.T).argmin(-1)


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
