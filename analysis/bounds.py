"""Holds the bounds that a study sets, and how far points break them; standard library only.

Search, stopping, the live front and everything that reads a run judge a point by these functions:
on selection, by the mean over its replicates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

DEAD_EXPERTS: Final = "dead_experts"
"""Experts that run for hardly any example."""

LEAST_SHARE: Final = 0.01
"""Of the examples: an expert that runs for less is dead."""

BOUNDS: Final = ("min", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """Holds the bounds of one value that is reported."""

    name: str
    """As objectives are named, or `dead_experts`."""

    low: float | None = None
    """`min`: at least so much."""

    high: float | None = None
    """`max`: at most so much."""

    def violation(self, value: float) -> float:
        """Says how far a value breaks it, as a share of the bound; 0 or below keeps it.

        (value - max) / |max|, or (min - value) / |min|, the greater where both are given. So a cost
        10 % above its cap and a score 10 % under its floor weigh alike. A bound of 0 has no share:
        there the plain difference counts. What has no value breaks it infinitely.
        """
        if math.isnan(value):
            return math.inf
        excesses = []
        if self.high is not None:
            excesses.append((value - self.high) / (abs(self.high) or 1.0))
        if self.low is not None:
            excesses.append((self.low - value) / (abs(self.low) or 1.0))
        return max(excesses)

    def plain(self) -> dict[str, float]:
        """Gives the constraint as YAML has it."""
        bounds = {"min": self.low, "max": self.high}
        return {bound: value for bound, value in bounds.items() if value is not None}

    def __str__(self) -> str:
        """Gives the bounds in words: `cost at most 6`, `score at least 0.8`."""
        words = {"min": "at least", "max": "at most"}
        bounds = " and ".join(f"{words[bound]} {value:g}" for bound, value in self.plain().items())
        before, colon, label = self.name.partition(":")  # a label keeps its own signs
        return f"{before.replace('_', ' ')}{colon}{label} {bounds}"


def violations(
    constraints: Sequence[Constraint],
    values: Mapping[str, float],
    shares: Sequence[Sequence[float]],
) -> dict[str, float]:
    """Says how far a point breaks each constraint, by name; 0 or below keeps it.

    Args:
        constraints: the study's.
        values: means over the point's replicates by the name of what is bounded (`reported`).
        shares: by replicate, the share of examples that each expert runs for; dead experts are a
            mean as well.
    """
    counted = {**values, DEAD_EXPERTS: fmean(map(dead, shares)) if shares else math.nan}
    return {
        constraint.name: constraint.violation(counted[constraint.name])
        for constraint in constraints
    }


def total(violations_by_name: Mapping[str, float]) -> float:
    """Sums how far a point breaks its constraints; 0 is feasible."""
    return math.fsum(max(0.0, value) for value in violations_by_name.values())


def dead(share: Sequence[float]) -> int:
    """Counts the experts that run for less than 1 % of the examples."""
    return sum(expert_share < LEAST_SHARE for expert_share in share)


def reported(constraints: Sequence[Constraint]) -> tuple[str, ...]:
    """Gives the values that the constraints need of reports, named as objectives are."""
    return tuple(constraint.name for constraint in constraints if constraint.name != DEAD_EXPERTS)


def plain_bounds(bounds: Any) -> dict[str, float]:
    """Gives `{"max": 6.0}` of what a study file holds for one constraint.

    Raises:
        ValueError: no bounds, an unknown bound, or a bound that is no finite number; the message
            says which.
    """
    if not isinstance(bounds, Mapping) or not bounds:
        raise ValueError("no mapping of min or max to a number")
    for bound, value in bounds.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if bound not in BOUNDS or not number or not math.isfinite(value):
            raise ValueError(f"{bound!r}: {value!r}; allowed are min and max with a finite number")
    return {str(bound): float(value) for bound, value in bounds.items()}
