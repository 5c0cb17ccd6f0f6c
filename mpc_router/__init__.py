"""The package trains and serves routers over pools of encoder experts.

The published names are loaded lazily, so that `import mpc_router` loads no torch.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "GatedBertPool": "model.gated_pool",
    "RouterStem": "model.router",
    "MLPRouter": "model.router",
    "BertExpert": "model.experts",
    "ExpertPool": "model.experts",
    "TaskLoss": "model.losses",
    "LoadBalancingLoss": "model.losses",
    "CostAwareLoss": "model.losses",
    "CompositeLoss": "model.losses",
    "GLUEDataLoader": "data.loader",
    "RoutedClassifier": "serve.classifier",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"mpc_router.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'mpc_router' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
