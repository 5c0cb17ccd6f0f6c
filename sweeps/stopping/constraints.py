"""Reads a study's constraints: bounds of reported values, and of the number of dead experts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from analysis.bounds import BOUNDS
from analysis.bounds import DEAD_EXPERTS as DEAD_EXPERTS
from analysis.bounds import LEAST_SHARE as LEAST_SHARE
from analysis.bounds import Constraint as Constraint
from analysis.bounds import dead as dead
from analysis.bounds import reported as reported
from analysis.bounds import total as total
from analysis.bounds import violations as violations
from mpc_router.messages import quoted
from mpc_router.settings.rules import SpaceError, is_number, unknown


def constraints_of(tree: Mapping[Any, Any]) -> tuple[Constraint, ...]:
    """Reads the constraints that YAML describes: `{cost: {max: 8}, score: {min: 0.8}}`.

    Raises:
        SpaceError: a constraint has no bounds, or bounds that no value keeps.
    """
    return tuple(_constraint(str(name), bounds) for name, bounds in tree.items())


def _constraint(name: str, bounds: Any) -> Constraint:
    """Makes the constraint of these bounds.

    Raises:
        SpaceError: there are none, or no value keeps them.
    """
    if not isinstance(bounds, Mapping) or not bounds:
        raise SpaceError(
            f"constraints.{name} is {quoted(bounds)}; write {{max: number}} or {{min: number}}"
        )
    for bound, value in bounds.items():
        if bound not in BOUNDS:
            raise SpaceError(unknown(f"bound of constraints.{name}", bound, BOUNDS))
        if not is_number(value) or not math.isfinite(value):
            raise SpaceError(f"constraints.{name}.{bound} is {quoted(value)}, but must be a number")
    low, high = bounds.get("min"), bounds.get("max")
    if low is not None and high is not None and low > high:
        raise SpaceError(
            f"constraints.{name} has min {low:g} above max {high:g}; no value keeps it"
        )
    return Constraint(
        name=name,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
    )
