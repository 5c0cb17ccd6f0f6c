"""Defines the axes of a study's space, one for each searched setting, and reads them from YAML."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.messages import quoted
from mpc_router.settings.rules import is_number

LISTED: Final = ("grid", "choice")
"""Names the kinds of axes that list their values; the two mean the same."""

RANGES: Final = ("uniform", "loguniform", "int")
"""Names the kinds of axes that have two ends."""

_KINDS: Final = (*LISTED, *RANGES)


class AxisError(ValueError):
    """Says in one sentence why an axis is not valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Holds the values that a setting may take."""

    kind: str
    """Is `grid` or `choice` for lists; `uniform`, `loguniform`, `int` for ranges, ends included."""

    values: tuple[Any, ...] = ()
    """Holds the values of `grid` and `choice`; sequences are tuples."""

    low: float = 0.0
    high: float = 0.0

    @property
    def listed(self) -> bool:
        """Tells whether the axis lists its values, as a grid needs."""
        return bool(self.values)

    def holds(self, value: Any) -> bool:
        """Tells whether a value lies on the axis."""
        if self.listed:
            return value in self.values
        fits = self.kind != "int" or (is_number(value) and float(value).is_integer())
        return is_number(value) and fits and self.low <= value <= self.high

    def normalised(self, value: Any) -> Any:
        """Gives a value of the axis in the axis's own type, such as `1.0` as a listed `1`."""
        if self.listed:
            return next(listed for listed in self.values if listed == value)
        return int(value) if self.kind == "int" else float(value)

    @property
    def corners(self) -> tuple[Any, ...]:
        """Gives all values of the axis, or both ends of a range."""
        return (
            self.values if self.listed else (self.normalised(self.low), self.normalised(self.high))
        )

    @property
    def middle(self) -> Any:
        """Gives the first of the listed values, or the middle of a range on its own scale."""
        if self.listed:
            return self.values[0]
        if self.kind == "loguniform":
            return math.sqrt(self.low) * math.sqrt(self.high)
        half = (self.low + self.high) / 2
        return math.floor(half) if self.kind == "int" else half

    def plain(self) -> dict[str, Any]:
        """Gives the axis as YAML has it."""
        if self.listed:
            return {self.kind: [list(v) if isinstance(v, tuple) else v for v in self.values]}
        ends = (int(self.low), int(self.high)) if self.kind == "int" else (self.low, self.high)
        return {self.kind: list(ends)}


def axis_of(
    name: object, tree: Any, *, all_values: Callable[[], Sequence[Any]] | None = None
) -> Axis:
    """Reads the axis that YAML describes: `{grid: [...]}`, `{loguniform: [a, b]}` and the like.

    `all_values` gives the values of `{grid: all}` and `{choice: all}`, if the setting has them.

    Raises:
        AxisError: the kind is unknown, or the ends or values make no axis.
    """
    if not isinstance(tree, Mapping) or len(tree) != 1 or next(iter(tree)) not in _KINDS:
        raise AxisError(
            f"space.{name} is {quoted(tree)}; write one of "
            "{grid: [value, ...]}, {choice: [value, ...]}, {uniform: [a, b]}, "
            "{loguniform: [a, b]}, {int: [a, b]}"
        )
    kind, values = next(iter(tree.items()))
    if values == "all" and kind in LISTED and all_values is not None:
        values = all_values()
    if not isinstance(values, list | tuple) or not values:
        raise AxisError(f"space.{name}.{kind} is {quoted(values)}, but must be a list of values")
    if kind in LISTED:
        listed = tuple(tuple(value) if isinstance(value, list) else value for value in values)
        if not all(_finite(value) for value in listed):
            raise AxisError(
                f"space.{name}.{kind} is {quoted(list(listed))}, but numbers must be finite"
            )
        return Axis(kind=kind, values=listed)
    return _range(name, kind, values)


def _finite(value: Any) -> bool:
    """Tells whether all numbers in a value are finite."""
    if isinstance(value, list | tuple):
        return all(_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def _range(name: object, kind: str, ends: Sequence[Any]) -> Axis:
    """Makes the axis of a range.

    Raises:
        AxisError: the ends make no range.
    """
    numbers = [end for end in ends if is_number(end) and math.isfinite(end)]
    if len(ends) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise AxisError(
            f"space.{name}.{kind} is {quoted(list(ends))}, but must be two finite numbers "
            "[low, high], low below high"
        )
    low, high = map(float, numbers)
    if kind == "loguniform" and low <= 0:
        raise AxisError(
            f"space.{name}.loguniform begins at {low:g}, but a logarithm needs a number above 0"
        )
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        raise AxisError(f"space.{name}.int is {quoted(list(ends))}, but must be two whole numbers")
    return Axis(kind=kind, low=low, high=high)
