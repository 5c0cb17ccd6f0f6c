"""Lanes: trials while they train, and which of them may share a stack. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.keys import canonical
from mpc_router.config.trial import TrialConfig, settings


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Names a trial while it trains: lanes are numbered from 0 in the order they are given."""

    config: TrialConfig
    seed: int


LANE_SETTINGS: Final = (
    "alpha",
    "beta",
    "learning_rate",
    "weight_decay",
    "temperature",
    "temperature_end",
    "expert_costs",
    "router_bias",
    "router_ridge",
    "router_threshold",
    "router_labels",
    "label_cost",
    "focal_gamma",
    "class_balance",
)
"""Settings in which the lanes of a stack may differ."""


def stack_key(config: TrialConfig) -> str:
    """Gives the key of a trial's stack: lanes with equal keys may share one."""
    return canonical(common_settings(config))


def common_settings(config: TrialConfig) -> dict[str, Any]:
    """Gives the settings in which the lanes of a stack do not differ, by leaf name."""
    return {name: value for name, value in settings(config).items() if name not in LANE_SETTINGS}
