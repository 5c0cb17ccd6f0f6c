"""Routers that are fitted at once rather than trained by steps.

Each gives numbers (B, M) in a unit that a bias can weigh against cost: expected gains of paths over
the one that stops here. `mpc_router.routes.Decisions` makes routes of them. Letters: N examples of
the fit, B of a batch, F features, K experts, C outputs of an expert, P paths, M numbers, I inputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from mpc_router.config import router_kinds as kinds
from mpc_router.model.output_features import output_features, output_width, sure_features
from mpc_router.model.predictor import Predictor
from mpc_router.routes import Decisions, Experts

_ITERATIONS: Final = 200
_DRAWS: Final = 10
"""Starts of k-means, of which the tightest is kept."""

_NEVER: Final = 1e-3
"""It is added to a threshold of 1, so that no chance reaches it."""


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """Holds the settings of a trial that shape a fitted router and its fit."""

    sees_features: bool = False
    hidden_size: int = 0
    """Hidden units of what predicts; 0 is a linear model."""

    gain: str = "right"
    ridge: float = 1.0
    clusters: int = 8
    threshold: float = 0.5


@dataclass(frozen=True, kw_only=True)
class RouterSizes:
    """Holds the sizes of a fitted router."""

    features: int
    """F of the stem."""

    outputs: int
    """C of an expert."""

    regression: bool
    paths: tuple[Experts, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class FitRows:
    """Holds the rows that a router is fitted to."""

    features: Tensor
    """(N, F), standardised."""

    outputs: Tensor
    """(N, K, C) of the experts."""

    right: Tensor
    """(N, P) 1 where a path's answer is right (of a regression: the nearest), else 0."""

    losses: Tensor
    """(N, P) of the paths' answers."""

    def worth(self, gain: str) -> Tensor:
        """Gives what paths are compared by, (N, P): high is good."""
        return self.right if gain == "right" else -self.losses


class FittedRouter(nn.Module):
    """Gives numbers (B, M) of features and outputs; a kind of its own is a class of these.

    `offset` (M,) is added last: what a bias takes off. It is called with features (B, F), None
    where it sees none, and outputs (B, K, C), None where it sees none; outputs of experts that have
    not run are 0, and no number of a state may depend on them.
    """

    traits: kinds.KindTraits
    """What it is given and chooses between. A kind of one's own sets it on the class."""

    offset: Tensor

    def __init__(self, kind: str, settings: RouterSettings, sizes: RouterSizes) -> None:
        super().__init__()
        self.kind, self.settings, self.sizes = kind, settings, sizes
        self.decisions = Decisions(sizes.paths)
        self.register_buffer("offset", torch.zeros(self.decisions.width))

    def fit(self, rows: FitRows, *, seed: int) -> None:
        """Fits the router in place.

        Raises:
            ValueError: it cannot be fitted to these rows.
        """
        raise NotImplementedError

    @property
    def takes_features(self) -> bool:
        """Whether it is given features: beside outputs only where the settings say so."""
        return not self.traits.sees_outputs or self.settings.sees_features

    def shape(self) -> dict[str, Any]:
        """Describes the router as plain JSON, of which `rebuilt` makes one of its shape."""
        return {
            "kind": self.kind,
            "settings": dataclasses.asdict(self.settings),
            "sizes": dataclasses.asdict(self.sizes),
        }

    def spoken(self, state: Experts) -> Experts:
        """Gives the experts whose outputs are seen in a state: the cheapest one at least."""
        return state or (0,)


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


_CLASSES: Final[Mapping[str, type[FittedRouter]]] = {
    kinds.PREDICTIVE: PathRouter,
    kinds.SEQUENTIAL: PathRouter,
    kinds.CASCADE: CascadeRouter,
    kinds.CLUSTERS: ClusterRouter,
}


def fitted_router(kind: str, settings: RouterSettings, sizes: RouterSizes) -> FittedRouter:
    """Makes a router of a kind with arbitrary weights.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in _CLASSES:
        raise ValueError(f"router_kind={kind} has no module")
    router = _CLASSES[kind](kind, settings, sizes)
    router.traits = kinds.FITTED_KINDS[kind]
    return router


def rebuilt(shape: Mapping[str, Any]) -> FittedRouter:
    """Makes a router of what `FittedRouter.shape` gave, with arbitrary weights.

    Raises:
        ValueError, TypeError, LookupError: it is something else.
    """
    sizes = dict(shape["sizes"])
    sizes["paths"] = tuple(tuple(map(int, path)) for path in sizes["paths"])
    return fitted_router(shape["kind"], RouterSettings(**shape["settings"]), RouterSizes(**sizes))


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
