"""Cost vectors: what an expert and the router cost an example, and what a routing then costs.

Training costs (`expert_costs` of a configuration) are what a router is trained with; a cost vector
is what is reported. Letters: L lanes, N examples, K experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CONSTANTS: Final = "constants"
PARAMETERS: Final = "parameters"
COSTS_FILE: Final = "file:"
"""Before the path of a file of measured costs."""

FLOPS: Final = "flops"
"""The last two are counted from the models by `mpc_router.pricing.counts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostVector:
    """What one example costs: the router's share, and each expert's, cheapest expert first."""

    name: str
    unit: str
    router: float
    """Paid by every routed example, whatever its route."""

    experts: tuple[float, ...]
    as_if: bool = False
    """Published numbers of other encoders, put on this pool: a stand-in, labelled as such."""

    stem_is_expert: bool = False
    """The router looks through the cheapest expert: it costs what that expert costs, and a route to
    that expert costs nothing more."""

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
        """What a route to each expert adds once the router is paid, (K,)."""
        return (0.0, *self.experts[1:]) if self.stem_is_expert else self.experts

    def of_routes(self, routes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Cost of every routed example, the router paid; same shape as `routes`."""
        routed = np.asarray(self.routed, np.float64)
        return np.asarray(self.router + routed[routes], np.float64)

    def mean(self, share: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """T = router + sum_k share_k * cost_k over the last axis (K): the projection."""
        return self.router + np.asarray(share, np.float64) @ np.asarray(self.routed, np.float64)

    def speed_up(self, share: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """max(experts) / T: against sending everything to the dearest expert without a router."""
        return max(self.experts) / self.mean(share)


@dataclass(frozen=True, slots=True)
class _Published:
    unit: str
    router: float
    by_size: dict[str, float]


PUBLISHED: Final = {
    "mpc_seconds": _Published("s", 4.17, {"tiny": 4.11, "base": 69.71, "large": 199.78}),
    "mpc_gb": _Published("GB sent", 1.86, {"tiny": 1.86, "base": 58.50, "large": 156.31}),
}
"""One example under two-party computation: arXiv 2604.15499, table 4."""

_THREE_SIZES: Final = ("tiny", "base", "large")


def cost_vectors(
    *, constants: Sequence[float], router: float, sizes: Sequence[str | None]
) -> dict[str, CostVector]:
    """Every vector of a pool by name: its constants first, then the published measurements.

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
        named = [size for size in sizes if size is not None] if measured else _THREE_SIZES
        for name, published in PUBLISHED.items():
            full = f"{name}_as_if" if as_if else name
            vectors[full] = CostVector(
                name=full,
                unit=published.unit,
                router=published.router,
                experts=tuple(published.by_size[size] for size in named),
                as_if=as_if,
            )
    return vectors


def to_json(vectors: dict[str, CostVector]) -> dict[str, dict[str, Any]]:
    """`cost_vectors` of provenance.json."""
    return {
        name: {
            "unit": vector.unit,
            "router": vector.router,
            "experts": list(vector.experts),
            "as_if": vector.as_if,
            "stem_is_expert": vector.stem_is_expert,
        }
        for name, vector in vectors.items()
    }


def from_json(data: dict[str, dict[str, Any]]) -> dict[str, CostVector]:
    """The vectors that `to_json` wrote."""
    return {
        name: CostVector(
            name=name,
            unit=value["unit"],
            router=value["router"],
            experts=tuple(value["experts"]),
            as_if=value["as_if"],
            stem_is_expert=value["stem_is_expert"],
        )
        for name, value in data.items()
    }


def names_costs(value: object) -> bool:
    """Says whether a word stands for training costs: `flops`, `parameters` or a file."""
    return isinstance(value, str) and (value in (FLOPS, PARAMETERS) or value.startswith(COSTS_FILE))
