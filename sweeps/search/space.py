"""The typed space of a study: one axis a searched setting, from YAML. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.sections import is_number
from mpc_router.messages import quoted

_KINDS: Final = ("grid", "choice", "uniform", "loguniform", "int")
"""Ways to search a setting that a study may name."""

_LISTED: Final = ("grid", "choice")
"""Those of them whose values are counted off: two words for one thing."""


class AxisError(ValueError):
    """Says in one sentence why an axis cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Holds the values that a setting may take."""

    kind: str
    """`grid` and `choice` list them; `uniform`, `loguniform`, `int` are ranges, ends included."""

    values: tuple[Any, ...] = ()
    """Of `grid` and `choice`; sequences are tuples."""

    low: float = 0.0
    high: float = 0.0

    @property
    def listed(self) -> bool:
        """Whether its values can be counted off, as a grid needs."""
        return bool(self.values)

    def holds(self, value: Any) -> bool:
        """Says whether a value lies on the axis."""
        if self.listed:
            return value in self.values
        whole = self.kind != "int" or (is_number(value) and float(value).is_integer())
        return is_number(value) and whole and self.low <= value <= self.high

    def on(self, value: Any) -> Any:
        """A value that lies on it, the way the axis itself has it: `1.0` as `1` where that is
        listed."""
        if self.listed:
            return next(each for each in self.values if each == value)
        return int(value) if self.kind == "int" else float(value)

    @property
    def corners(self) -> tuple[Any, ...]:
        """Gives all values of the axis, or both ends of a range."""
        return self.values if self.listed else (self.on(self.low), self.on(self.high))

    @property
    def middle(self) -> Any:
        """The first of its values, or the middle of a range on its own scale."""
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


def axis(name: object, given: Any, *, whole: Callable[[], Sequence[Any]] | None = None) -> Axis:
    """The axis that YAML describes: `{grid: [...]}`, `{loguniform: [a, b]}` and the like.

    `whole` gives the values of `{grid: all}` and `{choice: all}`, where that means something.

    Raises:
        AxisError: no such kind, or ends or values that make no axis.
    """
    if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in _KINDS:
        raise AxisError(
            f"space.{name} is {quoted(given)}; write one of "
            "{grid: [value, ...]}, {choice: [value, ...]}, {uniform: [a, b]}, "
            "{loguniform: [a, b]}, {int: [a, b]}"
        )
    kind, values = next(iter(given.items()))
    if values == "all" and kind in _LISTED and whole is not None:
        values = whole()
    if not isinstance(values, list | tuple) or not values:
        raise AxisError(f"space.{name}.{kind} is {quoted(values)}, but must be a list of values")
    if kind in _LISTED:
        listed = tuple(tuple(each) if isinstance(each, list) else each for each in values)
        if not all(_finite(each) for each in listed):
            raise AxisError(
                f"space.{name}.{kind} is {quoted(list(listed))}, but numbers must be finite"
            )
        return Axis(kind=kind, values=listed)
    return _range(name, kind, values)


def _finite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_finite(each) for each in value)
    return not isinstance(value, float) or math.isfinite(value)


def _range(name: object, kind: str, ends: Sequence[Any]) -> Axis:
    numbers = [each for each in ends if is_number(each) and math.isfinite(each)]
    if len(ends) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise AxisError(
            f"space.{name}.{kind} is {quoted(list(ends))}, but must be two finite "
            "numbers [low, high], "
            "low below high"
        )
    low, high = map(float, numbers)
    if kind == "loguniform" and low <= 0:
        raise AxisError(
            f"space.{name}.loguniform begins at {low:g}, but a logarithm needs a number above 0"
        )
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        raise AxisError(f"space.{name}.int is {quoted(list(ends))}, but must be two whole numbers")
    return Axis(kind=kind, low=low, high=high)
