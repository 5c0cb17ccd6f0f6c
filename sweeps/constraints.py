"""What a point must keep to: caps and floors of what is reported, and no dead expert."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from mpc_router.messages import quoted
from sweeps.space import SpaceError, is_number, unknown

DEAD_EXPERTS: Final = "dead_experts"
"""Experts that hardly any example is routed to."""

LEAST_SHARE: Final = 0.01
"""Of the hard routes: an expert below it is dead."""

_BOUNDS: Final = ("min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """Bounds of one value that is reported."""

    name: str
    """As objectives are named, or `dead_experts`."""

    low: float | None = None
    """`min`: at least so much."""

    high: float | None = None
    """`max`: at most so much."""

    def violation(self, value: float) -> float:
        """How far a value breaks it, as a share of the bound; 0 or below is kept.

        (value - max) / |max|, or (min - value) / |min|, the greater where both are given. So a cost
        10 % above its cap and a score 10 % under its floor weigh alike. A bound of 0 has no share:
        there the plain difference counts. What has no value breaks it infinitely.
        """
        if math.isnan(value):
            return math.inf
        found = []
        if self.high is not None:
            found.append((value - self.high) / (abs(self.high) or 1.0))
        if self.low is not None:
            found.append((self.low - value) / (abs(self.low) or 1.0))
        return max(found)

    def plain(self) -> dict[str, float]:
        """The way YAML has it."""
        bounds = {"min": self.low, "max": self.high}
        return {bound: value for bound, value in bounds.items() if value is not None}


def violations(
    constraints: Sequence[Constraint],
    values: Mapping[str, float],
    shares: Sequence[Sequence[float]],
) -> dict[str, float]:
    """How far a point breaks each constraint, by name; 0 or below is kept.

    Args:
        constraints: the study's.
        values: means over the point's replicates by the name of what is bounded (`reported`).
        shares: hard routes' share by expert, one a replicate; dead experts are a mean as well.
    """
    counted = {**values, DEAD_EXPERTS: fmean(map(dead, shares)) if shares else math.nan}
    return {each.name: each.violation(counted[each.name]) for each in constraints}


def total(found: Mapping[str, float]) -> float:
    """How far a point is from keeping all: the sum over those that it breaks; 0 is feasible."""
    return math.fsum(max(0.0, each) for each in found.values())


def dead(share: Sequence[float]) -> int:
    """Experts with less than 1 % of the routes."""
    return sum(each < LEAST_SHARE for each in share)


def reported(constraints: Sequence[Constraint]) -> tuple[str, ...]:
    """The values that the constraints need of reports, named as objectives are."""
    return tuple(each.name for each in constraints if each.name != DEAD_EXPERTS)


def constraints_of(given: Mapping[Any, Any]) -> tuple[Constraint, ...]:
    """The constraints that YAML describes: `{cost: {max: 8}, score: {min: 0.8}}`.

    Raises:
        SpaceError: no bounds, or bounds that nothing can keep.
    """
    return tuple(_constraint(str(name), bounds) for name, bounds in given.items())


def _constraint(name: str, bounds: Any) -> Constraint:
    if not isinstance(bounds, Mapping) or not bounds:
        raise SpaceError(
            f"constraints.{name} is {quoted(bounds)}; write {{max: number}} or {{min: number}}"
        )
    for bound, value in bounds.items():
        if bound not in _BOUNDS:
            raise SpaceError(unknown(f"bound of constraints.{name}", bound, _BOUNDS))
        if not is_number(value) or not math.isfinite(value):
            raise SpaceError(f"constraints.{name}.{bound} is {quoted(value)}, but must be a number")
    low, high = bounds.get("min"), bounds.get("max")
    if low is not None and high is not None and low > high:
        raise SpaceError(f"constraints.{name} has min {low:g} above max {high:g}; nothing keeps it")
    return Constraint(
        name=name,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
    )
