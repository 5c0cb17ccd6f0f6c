"""Routers over pools of encoder experts: the trainer.

The published names are given lazily, so that `import mpc_router` loads no torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "GatedBertPool": "pool",
    "RouterStem": "routers",
    "MLPRouter": "routers",
    "BertExpert": "experts",
    "ExpertPool": "experts",
    "TaskLoss": "losses",
    "LoadBalancingLoss": "losses",
    "CostAwareLoss": "losses",
    "CompositeLoss": "losses",
    "GLUEDataLoader": "data",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mpc_router.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mpc_router' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
