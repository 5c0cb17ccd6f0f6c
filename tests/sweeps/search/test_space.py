"""Axes: the values that a setting may take."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sweeps.search.space import Axis, AxisError, axis_of


@pytest.mark.parametrize(
    ("given", "inside", "outside"),
    [
        ({"grid": [1, 2.5]}, [1, 1.0, 2.5], [2, 3]),
        ({"choice": [[2, 7], [1, 7]]}, [(2, 7), (1.0, 7.0)], [(7, 2), 2]),
        ({"choice": [True, None]}, [True, None], [False, "x"]),
        ({"uniform": [0, 1]}, [0, 0.5, 1], [-1e-9, 1.1, True, "0.5", None]),
        ({"loguniform": [1e-3, 1]}, [1e-3, 0.1, 1], [0, 1e-4, 2]),
        ({"int": [2, 5]}, [2, 5, 3.0], [1, 6, 2.5, True]),
    ],
    ids=str,
)
def test_an_axis_holds_its_values_and_no_others(
    given: dict[str, Any], inside: list[Any], outside: list[Any]
) -> None:
    found = axis_of("x", given)
    assert all(map(found.holds, inside))
    assert not any(map(found.holds, outside))


def test_a_value_is_said_the_way_the_axis_has_it() -> None:
    listed = axis_of("x", {"choice": [[2, 7], [1, 7]]}).normalised((1.0, 7.0))
    assert [type(each) for each in listed] == [int, int]
    assert type(axis_of("x", {"int": [2, 5]}).normalised(3.0)) is int
    assert type(axis_of("x", {"uniform": [0, 1]}).normalised(1)) is float


@pytest.mark.parametrize(
    ("given", "corners", "middle"),
    [
        ({"choice": ["a", "b", "c"]}, ("a", "b", "c"), "a"),
        ({"uniform": [0, 3]}, (0.0, 3.0), 1.5),
        ({"loguniform": [1e-4, 1]}, (1e-4, 1.0), 1e-2),
        ({"int": [2, 5]}, (2, 5), 3),
        ({"int": [-3, 0]}, (-3, 0), -2),
    ],
    ids=str,
)
def test_corners_and_middle_lie_on_the_axis(
    given: dict[str, Any], corners: tuple[Any, ...], middle: Any
) -> None:
    found = axis_of("x", given)
    assert found.corners == corners
    assert found.middle == pytest.approx(middle)
    assert all(map(found.holds, (*found.corners, found.middle)))


def test_the_middle_of_a_wide_range_is_finite() -> None:
    wide = Axis(kind="loguniform", low=1e-300, high=1e300)
    assert math.isclose(wide.middle, 1.0)


@pytest.mark.parametrize("kind", ["grid", "choice"])
def test_all_means_what_the_setting_says(kind: str) -> None:
    assert axis_of("x", {kind: "all"}, all_values=lambda: [2, 3]).values == (2, 3)
    with pytest.raises(AxisError, match="must be a list of values"):
        axis_of("x", {kind: "all"})
