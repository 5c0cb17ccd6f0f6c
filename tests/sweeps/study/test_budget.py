"""Budgets: what a run may spend."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mpc_router.settings.rules import SpaceError
from sweeps.study.budget import Budget
from sweeps.study.lengths import duration_text


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        *((3600, 3600), (0.5, 0.5), ("2h", 7200), ("90m", 5400), ("1h30m", 5400)),
        *(("1.5h", 5400), ("45s", 45), ("2d", 172800)),
    ],
)
def test_time_is_read_in_the_units_that_people_write(given: Any, seconds: float) -> None:
    assert Budget.from_tree({"time": given}).time == seconds


def test_no_budget_is_never_used_up() -> None:
    assert not Budget()
    assert Budget().used_up(time=1e9, epochs=10**9, gpu_hours=1e9) is None


@pytest.mark.parametrize(
    ("spent", "limit"),
    [
        ({}, None),
        ({"time": 7199.0}, None),
        ({"time": 7200.0}, "budget.time of 2 h"),
        ({"epochs": 99}, None),
        ({"epochs": 100}, "budget.epochs of 100"),
        ({"gpu_hours": 1.5}, "budget.gpu_hours of 1.5"),
    ],
)
def test_the_limit_that_is_reached_is_named(spent: dict[str, Any], limit: str | None) -> None:
    budget = Budget.from_tree({"time": "2h", "epochs": 100, "gpu_hours": 1.5})
    assert budget
    assert budget.used_up(**{"time": 0.0, "epochs": 0, "gpu_hours": 0.0, **spent}) == limit


def test_a_budget_survives_yaml() -> None:
    budget = Budget.from_tree({"time": "90m", "epochs": 7})
    assert budget.plain() == {"time": 5400.0, "epochs": 7}
    assert Budget.from_tree(budget.plain()) == budget


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (90, "1.5 m"), (7200, "2 h"), (129600, "1.5 d")]
)
def test_a_length_of_time_is_said_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"time": 0}, "above 0"),
        ({"time": -5}, "above 0"),
        ({"time": "0h"}, "above 0"),
        ({"time": "2 hours"}, "such as 2h, 90m"),
        ({"time": "h"}, "such as 2h, 90m"),
        ({"time": True}, "above 0"),
        ({"time": math.inf}, "above 0"),
        ({"epochs": 0}, "an integer from 1"),
        ({"epochs": 1.5}, "an integer from 1"),
        ({"epochs": "many"}, "an integer from 1"),
        ({"gpu_hours": -1}, "above 0"),
        ({"tiem": 3}, "did you mean time"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Budget.from_tree(given)
