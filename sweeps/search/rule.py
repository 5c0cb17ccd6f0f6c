"""How points are proposed, what was asked, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mpc_router.messages import quoted

METHODS: Final = ("grid", "random", "qmc", "tpe", "nsga2", "nsga3", "gp")

UNHEARING: Final = ("random", "qmc")
"""Methods whose points do not depend on results: they wait for nobody."""

FIDELITIES: Final = ("complete", "left_out", "infeasible")

ENDED: Final = ("complete", "stopped", "failed", "open")
"""How a point stands: all epochs; stopped early; a replicate FAILED; still to come, or interrupted.
"""


class SearchError(ValueError):
    """A search that cannot be: one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRule:
    """How points are proposed."""

    method: str = "grid"
    points: int = 0
    """Points of the whole search, start points included."""

    batch: int = 1
    """Points asked at once."""

    parallel: int = 1
    """Batches open at once: batch b is asked when all up to b - parallel are told. Of methods that
    hear nothing (`UNHEARING`) as many as there are workers for."""

    fidelity: str = "infeasible"
    """What the sampler hears of a point that was stopped early: its last values as if `complete`,
    nothing (`left_out`), or that it is `infeasible` by the share of epochs not reached."""

    def __post_init__(self) -> None:
        for name, allowed in (("method", METHODS), ("fidelity", FIDELITIES)):
            if getattr(self, name) not in allowed:
                raise SearchError(
                    f"search.{name} is {quoted(getattr(self, name))}, allowed are "
                    f"{', '.join(allowed)}"
                )
        for name, least in (("points", 0), ("batch", 1), ("parallel", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SearchError(
                    f"search.{name} is {quoted(value)}, but must be an integer from {least}"
                )
        if self.method != "grid" and self.points == 0:
            raise SearchError(
                f"search.method {quoted(self.method)} needs search.points, how many to try in all"
            )

    def size_of(self, batch: int) -> int:
        """Points of batch number `batch`; 0 when there are no more."""
        return max(0, min(self.batch, self.points - batch * self.batch))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A point that was asked."""

    settings: Mapping[str, Any]
    """By leaf name, every axis of the space."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What the sampler noted of it: Optuna's system attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a point: means over its replicates."""

    ended: str
    """One of `ENDED`."""

    values: tuple[float, ...] = ()
    """(M,) in the order and the directions of the objectives; empty where there are none."""

    violations: Mapping[str, float] = field(default_factory=dict)
    """By constraint: how far it is broken, 0 or below is kept."""

    reached: float = 1.0
    """Share of a trial's epochs."""


OPEN: Final = Result(ended="open")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Points asked together, and what came of them as far as the search has been told."""

    proposals: tuple[Proposal, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """The study's system attributes after asking."""

    results: tuple[Result, ...] = ()
    """One a proposal once the batch is told; empty before."""
