"""What a kind of routers is given, what it chooses between, and which settings it heeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mpc_router.routes import Experts


@dataclass(frozen=True, kw_only=True)
class KindTraits:
    """Says of a kind of fitted routers what it is given, what it chooses between, what it heeds."""

    sees_outputs: bool = False
    """Whether it is given the outputs of the experts that have run."""

    sees_features: bool = True
    """Whether it may be given the stem's features; beside outputs `router_sees` decides."""

    paths: Callable[[int], tuple[Experts, ...]] | None = None
    """Gives its paths of the number of experts; without it a route is one expert."""

    network: bool = True
    """Whether a network stands behind the stem, which is priced as a gated router's; a router
    without one costs its stem alone."""

    most_experts: int = 255
    """Experts that it can choose between."""

    classes_only: bool = False
    """Whether it needs classes, and no regression."""

    settings: frozenset[str] = frozenset()
    """Names the settings of a router's kind that it depends on beside bias and `combine`."""
