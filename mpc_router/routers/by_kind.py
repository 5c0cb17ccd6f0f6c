"""Makes routers that are fitted at once, by the name of their kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mpc_router.config import router_kinds as kinds
from mpc_router.config.own_kinds import own_kind
from mpc_router.routers._feature_routers import ClusterRouter, RandomRouter
from mpc_router.routers._path_routers import CascadeRouter, PathRouter
from mpc_router.routers.fitted_router import FittedRouter, RouterSettings, RouterSizes

_CLASSES: Final[Mapping[str, type[FittedRouter]]] = {
    kinds.PREDICTIVE: PathRouter,
    kinds.SEQUENTIAL: PathRouter,
    kinds.CASCADE: CascadeRouter,
    kinds.CLUSTERS: ClusterRouter,
    kinds.RANDOM: RandomRouter,
}


def fitted_router(kind: str, settings: RouterSettings, sizes: RouterSizes) -> FittedRouter:
    """Makes a router of a kind with arbitrary weights.

    Raises:
        ValueError: there is no such kind.
    """
    made_by = _CLASSES.get(kind) or own_kind(kind)
    if made_by is None:
        raise ValueError(f"router_kind={kind} has no module")
    router: FittedRouter = made_by(kind, settings, sizes)
    router.traits = kinds.FITTED_KINDS.get(kind, made_by.traits)
    return router


def rebuilt(shape: Mapping[str, Any]) -> FittedRouter:
    """Makes a router of what `FittedRouter.shape` gave, with arbitrary weights.

    Raises:
        ValueError, TypeError, LookupError: it is something else.
    """
    sizes = dict(shape["sizes"])
    settings = {**shape["settings"], "shares": tuple(shape["settings"]["shares"])}
    sizes["paths"] = tuple(tuple(map(int, path)) for path in sizes["paths"])
    return fitted_router(shape["kind"], RouterSettings(**settings), RouterSizes(**sizes))
