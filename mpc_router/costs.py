"""The module defines cost vectors: what experts, the router, and then a routing cost an example.

Training costs (`expert_costs` of a configuration) are what a router is trained with; a cost vector
is what is reported. Letters: L lanes, N examples, K experts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CONSTANTS: Final = "constants"
PARAMETERS: Final = "parameters"
COSTS_FILE: Final = "file:"
"""It stands before the path of a file of measured costs."""

FLOPS: Final = "flops"
"""It is counted from the models by `mpc_router.pricing.counts`, as `PARAMETERS` is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostVector:
    """Holds what one example costs: in the router, and in each expert, cheapest expert first."""

    name: str
    unit: str
    router: float
    """It is the cost that every routed example pays, whatever its route."""

    experts: tuple[float, ...]
    as_if: bool = False
    """It is true for published numbers of other encoders, which stand in for this pool's."""

    stem_is_expert: bool = False
    """It is true where the router looks through the cheapest expert.

    The router then costs what that expert costs, and a route to that expert costs nothing more.
    """

    basis: str = ""
    """It says what the costs rest on: measured or extrapolated, how. Empty where nothing is known.
    """

    paths: tuple[tuple[int, ...], ...] = ()
    """It names the experts of each route where routes are paths; empty where a route is an expert.
    """

    def __post_init__(self) -> None:
        if not self.experts:
            raise ValueError(f"cost vector {self.name!r} names no expert; give one cost an expert")
        values = np.asarray([self.router, *self.experts], dtype=float)
        if not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(
                f"cost vector {self.name!r} is router {self.router}, experts {list(self.experts)}; "
                "costs are finite numbers from 0"
            )

    @property
    def routed(self) -> tuple[float, ...]:
        """Gives what each route adds to the router's cost: by expert (K,), or by path (P,)."""
        added = (0.0, *self.experts[1:]) if self.stem_is_expert else self.experts
        if not self.paths:
            return added
        return tuple(float(sum(added[expert] for expert in path)) for path in self.paths)

    def on(self, paths: Sequence[Sequence[int]]) -> CostVector:
        """Gives the vector of routes that are these paths, each a tuple of experts.

        Routes that are single experts in their order have the vector as it is.

        Raises:
            ValueError: a path has an expert that the vector does not price.
        """
        tuples = tuple(tuple(path) for path in paths)
        if any(not 0 <= expert < len(self.experts) for path in tuples for expert in path):
            raise ValueError(f"paths {tuples} of the {len(self.experts)} experts of {self.name!r}")
        single = tuple((expert,) for expert in range(len(self.experts)))
        return replace(self, paths=() if tuples == single else tuples)

    def of_members(self, members: Sequence[int]) -> CostVector:
        """Gives the vector over some of the experts, by their numbers, in the order given."""
        return replace(self, experts=tuple(self.experts[member] for member in members))

    def of_routes(self, routes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Gives the cost of every routed example with the router's; same shape as `routes`."""
        costs = self.router + np.asarray(self.routed, np.float64)
        return np.take(costs, routes)

    def mean(self, share: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Gives the mean cost T = router + sum_k share_k * cost_k over the last axis: routes."""
        return self.router + np.asarray(share, np.float64) @ np.asarray(self.routed, np.float64)

    def speed_up(self, share: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Gives max(experts) / T, the speed-up over the dearest expert for all without a router."""
        return max(self.experts) / self.mean(share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """Holds what cost counts in a route: route = argmax(z - value * vector.routed).

    At 0 the router runs as trained; above 0 it saves, below 0 it spends.
    """

    value: float
    """It is in nats per unit of the vector."""

    vector: CostVector

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a bias is {self.value}, but must be a finite number")


@dataclass(frozen=True, slots=True)
class _Published:
    """Holds published costs of the router, and of experts by size."""

    unit: str
    router: float
    by_size: dict[str, float]


PUBLISHED: Final = {
    "mpc_seconds": _Published("s", 4.17, {"tiny": 4.11, "base": 69.71, "large": 199.78}),
    "mpc_gb": _Published("GB sent", 1.86, {"tiny": 1.86, "base": 58.50, "large": 156.31}),
}
"""They are the costs of one example under two-party computation: arXiv 2604.15499, table 4."""

_THREE_SIZES: Final = ("tiny", "base", "large")


def cost_vectors(
    *, constants: Sequence[float], router: float, sizes: Sequence[str | None]
) -> dict[str, CostVector]:
    """Gives every cost vector of a pool by name: constants first, then published measurements.

    `sizes` names the published size (tiny, base, large) that each expert is, or None. A measured
    vector exists only where every expert has one; a pool of three without sizes gets the published
    three as a stand-in, named `<vector>_as_if`.
    """
    vectors = {
        CONSTANTS: CostVector(
            name=CONSTANTS, unit="units", router=float(router), experts=tuple(map(float, constants))
        )
    }
    measured = all(size in _THREE_SIZES for size in sizes)
    as_if = not measured and len(sizes) == len(_THREE_SIZES)
    if measured or as_if:
        pool_sizes = [size for size in sizes if size is not None] if measured else _THREE_SIZES
        for name, published in PUBLISHED.items():
            full_name = f"{name}_as_if" if as_if else name
            vectors[full_name] = CostVector(
                name=full_name,
                unit=published.unit,
                router=published.router,
                experts=tuple(published.by_size[size] for size in pool_sizes),
                as_if=as_if,
            )
    return vectors


def to_json(vectors: dict[str, CostVector]) -> dict[str, dict[str, Any]]:
    """Gives the vectors as `cost_vectors` of provenance.json."""
    return {
        name: {
            "unit": vector.unit,
            "router": vector.router,
            "experts": list(vector.experts),
            "as_if": vector.as_if,
            "stem_is_expert": vector.stem_is_expert,
            **({"basis": vector.basis} if vector.basis else {}),
        }
        for name, vector in vectors.items()
    }


def from_json(data: dict[str, dict[str, Any]]) -> dict[str, CostVector]:
    """Makes the vectors of the data that `to_json` gave."""
    return {
        name: CostVector(
            name=name,
            unit=value["unit"],
            router=value["router"],
            experts=tuple(value["experts"]),
            as_if=value["as_if"],
            stem_is_expert=value["stem_is_expert"],
            basis=str(value.get("basis", "")),
        )
        for name, value in data.items()
    }


def names_costs(value: object) -> bool:
    """Tells whether a word names training costs: `flops`, `parameters` or a file."""
    return isinstance(value, str) and (value in (FLOPS, PARAMETERS) or value.startswith(COSTS_FILE))
