"""Settings of what a router is: its kind, what it sees, and the bias on its routes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from mpc_router.config.rules import ConfigError, at_least, one_of

GATED: Final = "gated"
PREDICTIVE: Final = "predictive"
CLUSTERS: Final = "clusters"
FITTED_KINDS: Final = (PREDICTIVE, CLUSTERS)
"""Kinds of routers that are fitted at once; a gated one is trained by steps."""

OUTPUTS_ALONE: Final = "outputs"
OUTPUTS_AND_FEATURES: Final = "outputs+features"


@dataclass(frozen=True, kw_only=True)
class RouterKind:
    """Holds the settings of a router's kind; they are part of the section `model`."""

    router_kind: str = GATED
    """What a router is: `gated` (published), trained by steps; `predictive`, which predicts from
    the cheapest expert's outputs what every other expert would gain; or `clusters`, the best
    expert of the cluster that an example's features fall into. The last two are fitted at once,
    in the first epoch (experts: frozen)."""

    router_sees: str = OUTPUTS_ALONE
    """What a predictive router is given: the cheapest expert's `outputs`, or
    `outputs+features`."""

    predictor: str = "logistic"
    """What a predictive router is: `logistic`, linear in what it sees, or an `mlp` of
    `router_hidden_size`."""

    router_gain: str = "right"
    """What fitted routers compare experts by: being `right`, or their `loss`."""

    router_ridge: float = 1.0
    """Of a predictive router: half of it times the squared weights is added to the summed loss."""

    router_clusters: int = 8
    """Clusters of features (router_kind: clusters)."""

    router_bias: float = 0.0
    """b of route = argmax(logit - b x cost), in logits per unit of the pool's costs: above 0 saves,
    below 0 spends. It changes routes, and nothing that a router learns (experts: frozen)."""

    def check(self, *, stem: str, joint: bool) -> None:
        """Refuses settings that cannot be, alone or beside the stem and joint training.

        Raises:
            ConfigError: there is one.
        """
        one_of("router_kind", self.router_kind, [GATED, *FITTED_KINDS])
        one_of("router_sees", self.router_sees, [OUTPUTS_ALONE, OUTPUTS_AND_FEATURES])
        one_of("predictor", self.predictor, ["logistic", "mlp"])
        one_of("router_gain", self.router_gain, ["right", "loss"])
        at_least("router_ridge", self.router_ridge, 0, open_end=True)
        at_least("router_clusters", self.router_clusters, 1)
        if not math.isfinite(self.router_bias):
            raise ConfigError(f"router_bias is {self.router_bias}, but must be a finite number")
        if self.fitted and joint:
            raise ConfigError(
                f"router_kind={self.router_kind} is fitted to experts that stay as they are, but "
                "experts=joint trains them; set experts=frozen or router_kind=gated"
            )
        if self.sees_outputs and stem != "expert":
            raise ConfigError(
                "router_kind=predictive looks at the cheapest expert's outputs, so that this "
                f"expert is the stem, but stem is {stem!r}; set stem=expert, or with "
                "outputs that are handed in leave out features"
            )
        if self.router_bias and joint:
            raise ConfigError(
                "router_bias belongs to routers of frozen experts; leave it out and choose a bias "
                "after the training (analysis.choose)"
            )

    @property
    def fitted(self) -> bool:
        """Whether the router is fitted at once, and not trained by steps."""
        return self.router_kind in FITTED_KINDS

    @property
    def sees_outputs(self) -> bool:
        """Whether the router is given outputs of the cheapest expert."""
        return self.router_kind == PREDICTIVE

    @property
    def sees_features(self) -> bool:
        """Whether the router is given features of the stem."""
        return not self.sees_outputs or self.router_sees == OUTPUTS_AND_FEATURES
