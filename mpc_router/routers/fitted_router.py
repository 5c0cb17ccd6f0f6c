"""What a router that is fitted at once is made of, given and fitted to: kinds are classes of it.

It gives numbers (B, M) in a unit that a bias can weigh against cost: expected gains of paths over
the one that stops here. `mpc_router.routes.Decisions` makes routes of them. Letters: N examples of
the fit, B of a batch, F features, K experts, C outputs of an expert, P paths, M numbers.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mpc_router.config.kind_traits import KindTraits
from mpc_router.routes import Decisions, Experts


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
    shares: tuple[float, ...] = ()


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

    traits: KindTraits
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
