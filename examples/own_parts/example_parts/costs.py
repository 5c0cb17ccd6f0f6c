"""Defines a cost vector: what an example costs where experts are paid by their layers."""

from __future__ import annotations

from mpc_router.config.trial import TrialConfig
from mpc_router.costs import CostVector


def layers(config: TrialConfig) -> CostVector:
    """Gives one unit for every layer of an expert, and one for the router."""
    counts = [float(layers or 12) for layers in config.model.expert_layers]
    return CostVector(name="layers", unit="layers", router=1.0, experts=tuple(counts))
