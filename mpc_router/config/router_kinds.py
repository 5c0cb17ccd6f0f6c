"""Settings of what a router is: its kind, what it sees, what an answer is made of, its bias."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from mpc_router.config.kind_traits import KindTraits
from mpc_router.config.own_kinds import own_traits
from mpc_router.routes import (
    COMBINATIONS,
    LAST,
    Experts,
    pair_paths,
    prefix_paths,
    rising_paths,
    single_paths,
)
from mpc_router.settings.allowed import Number, OneOf
from mpc_router.settings.rules import ConfigError, one_of

GATED: Final = "gated"
PREDICTIVE: Final = "predictive"
SEQUENTIAL: Final = "sequential"
CASCADE: Final = "cascade"
CLUSTERS: Final = "clusters"
RANDOM: Final = "random"


_PREDICTS: Final = frozenset({"router_sees", "predictor", "router_gain", "router_ridge"})

FITTED_KINDS: Final[Mapping[str, KindTraits]] = {
    PREDICTIVE: KindTraits(sees_outputs=True, settings=_PREDICTS),
    SEQUENTIAL: KindTraits(
        sees_outputs=True, paths=rising_paths, most_experts=8, settings=_PREDICTS
    ),
    CASCADE: KindTraits(
        sees_outputs=True,
        sees_features=False,
        paths=prefix_paths,
        classes_only=True,
        settings=frozenset({"router_threshold", "router_ridge"}),
    ),
    CLUSTERS: KindTraits(network=False, settings=frozenset({"router_clusters", "router_gain"})),
    RANDOM: KindTraits(network=False, settings=frozenset({"router_shares"})),
}
"""Kinds of routers that are fitted at once; a gated one is trained by steps."""

_ROUNDING: Final = 1e-6
"""Shares may miss 1 by this."""

_OUTPUTS_ALONE: Final = "outputs"
_OUTPUTS_AND_FEATURES: Final = "outputs+features"


@dataclass(frozen=True, kw_only=True)
class RouterKind:
    """Holds the settings of a router's kind; they are part of the section `model`."""

    router_kind: Annotated[str, OneOf((GATED, *FITTED_KINDS), "a kind of one's own")] = GATED
    """What a router is. `gated` (published) is trained by steps; `predictive`, which predicts from
    the cheapest expert's outputs what every other expert would gain; `sequential`, which predicts
    again after every expert that ran; `cascade`, which goes on to the next expert where the last
    one is not sure enough; `clusters`, the best expert of the cluster that an example's features
    fall into; `random`, experts by chance, the control; or a kind of one's own (see the guide to
    own parts). All but the first are fitted at once, in the first epoch (experts: frozen)."""

    router_sees: Annotated[str, OneOf((_OUTPUTS_ALONE, _OUTPUTS_AND_FEATURES))] = _OUTPUTS_ALONE
    """What a predictive or sequential router is given: the `outputs` of the experts that ran, or
    `outputs+features`, those of the cheapest one."""

    predictor: Annotated[str, OneOf(("logistic", "mlp"))] = "logistic"
    """What predicts in a predictive or sequential router: `logistic`, linear in what it sees, or
    an `mlp` of `router_hidden_size`."""

    router_gain: Annotated[str, OneOf(("right", "loss"))] = "right"
    """What fitted routers compare experts by: being `right`, or their `loss`."""

    router_ridge: Annotated[float, Number(0, above=True)] = 1.0
    """The ridge of routers that predict: half of it times the squared weights is added to the
    summed loss."""

    router_clusters: Annotated[int, Number(1)] = 8
    """Clusters of features (router_kind: clusters)."""

    router_threshold: Annotated[float, Number(0, most=1)] = 0.5
    """The chance of being right, from 0 to 1, below which a cascade goes on to the next expert. The
    chance is that of the predicted class at this margin, so that every class has a threshold of
    its own on the margin (router_kind: cascade)."""

    router_shares: Annotated[tuple[float, ...], Number(0, most=1)] = ()
    """The share of examples that each expert is sent by chance; empty is the same for all
    (router_kind: random)."""

    combine: Annotated[str, OneOf(COMBINATIONS)] = LAST
    """What an answer is made of where several experts ran for an example: the `last` one's output,
    the `average` (of probabilities, or of values), or a `logistic` regression on their outputs,
    fitted on the rows that the router learns from (least squares of values)."""

    router_bias: Annotated[float, Number()] = 0.0
    """b of route = argmax(logit - b x cost), in logits per unit of the pool's costs: above 0 saves,
    below 0 spends. It changes routes, and nothing that a router learns (experts: frozen)."""

    def check(self, *, stem: str, joint: bool) -> None:
        """Refuses settings that cannot be, alone or beside the stem and joint training.

        Raises:
            ConfigError: there is one.
        """
        if self.router_kind != GATED and self.traits is None:
            others = "the name of an installed kind of routers", "module:name"
            one_of("router_kind", self.router_kind, [GATED, *FITTED_KINDS], others=others)
        if self.fitted and joint:
            raise ConfigError(
                f"router_kind={self.router_kind} is fitted to experts that stay as they are, but "
                "experts=joint trains them; set experts=frozen or router_kind=gated"
            )
        if self.sees_outputs and stem != "expert":
            raise ConfigError(
                f"router_kind={self.router_kind} looks at the cheapest expert's outputs, so that "
                f"this expert is the stem, but stem is {stem!r}; set stem=expert, or with "
                "outputs that are handed in leave out features"
            )
        if joint and self.combine != LAST:
            raise ConfigError(
                f"combine={self.combine} is for experts that stay as they are, but experts=joint "
                "trains them; set experts=frozen or combine=last"
            )
        if self.combine != LAST and stem != "expert":
            raise ConfigError(
                f"combine={self.combine} has nothing to combine: with stem={stem} one expert runs "
                "for an example; set stem=expert, so that the cheapest always does, or combine=last"
            )
        if self.router_bias and joint:
            raise ConfigError(
                "router_bias belongs to routers of frozen experts; leave it out and choose a bias "
                "after the training (analysis.choose)"
            )

    def check_experts(self, experts: int, *, regression: bool) -> None:
        """Refuses a kind that cannot route between so many experts, or on such a task.

        Raises:
            ConfigError: it cannot.
        """
        traits = self.traits
        if traits is None:
            return
        if experts > traits.most_experts:
            raise ConfigError(
                f"router_kind={self.router_kind} can choose between {traits.most_experts} experts, "
                f"and there are {experts}; name fewer, or set another router_kind"
            )
        shares = self.router_shares
        if shares and (
            len(shares) != experts or min(shares) < 0 or abs(sum(shares) - 1) > _ROUNDING
        ):
            raise ConfigError(
                f"router_shares is {list(shares)} for {experts} experts; give one share from 0 an "
                "expert, 1 together"
            )
        if traits.classes_only and regression:
            raise ConfigError(
                f"router_kind={self.router_kind} goes by how sure an expert is of a class, but the "
                "task is a regression; set router_kind=sequential, which predicts errors"
            )

    @property
    def traits(self) -> KindTraits | None:
        """Gives what the kind is given and chooses between; None of a gated one."""
        if self.router_kind == GATED:
            return None
        return FITTED_KINDS.get(self.router_kind) or own_traits(self.router_kind)

    @property
    def fitted(self) -> bool:
        """Whether the router is fitted at once, and not trained by steps."""
        return self.traits is not None

    @property
    def sees_outputs(self) -> bool:
        """Whether the router is given outputs of the experts that have run."""
        return self.traits is not None and self.traits.sees_outputs

    @property
    def sees_features(self) -> bool:
        """Whether the router is given features of the stem."""
        if self.traits is None or not self.traits.sees_outputs:
            return True
        return self.traits.sees_features and self.router_sees == _OUTPUTS_AND_FEATURES

    def has_network(self, *, stem: str) -> bool:
        """Whether a network is paid beside the stem.

        Kinds whose stem is the cheapest expert share a prepared set and so its cost vectors: there
        a network is paid for all of them.
        """
        return stem == "expert" or self.traits is None or self.traits.network

    def paths(self, experts: int, *, stem: str) -> tuple[Experts, ...]:
        """Gives the paths that the router chooses between, each the experts that run, in order."""
        if self.traits is not None and self.traits.paths is not None:
            return self.traits.paths(experts)
        if stem == "expert" and self.combine != LAST:
            return pair_paths(experts)
        return single_paths(experts)

    def idle(self) -> set[str]:
        """Gives the settings of a router's kind that no number of its trials depends on."""
        used = set() if self.traits is None else {"router_kind", *self.traits.settings}
        used |= {name for name in ("router_bias",) if self.router_bias}
        used |= {name for name in ("combine",) if self.combine != LAST}
        return set(_OF_A_KIND - used)


_OF_A_KIND: Final = frozenset(leaf.name for leaf in dataclasses.fields(RouterKind))
