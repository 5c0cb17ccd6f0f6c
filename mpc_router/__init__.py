"""Routers over pools of encoder experts: the trainer.

The published names are given lazily, so that `import mpc_router` loads no torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "GatedBertPool": "model.gated_pool",
    "RouterStem": "model.router",
    "MLPRouter": "model.router",
    "BertExpert": "model.experts",
    "ExpertPool": "model.experts",
    "TaskLoss": "model.losses",
    "LoadBalancingLoss": "model.losses",
    "CostAwareLoss": "model.losses",
    "CompositeLoss": "model.losses",
    "GLUEDataLoader": "data.tokens",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mpc_router.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mpc_router' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
