"""Constraints: how far a point breaks them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from mpc_router.settings.rules import SpaceError
from sweeps.records import Message, Report
from sweeps.stopping.constraints import constraints_of, dead, reported, total, violations
from sweeps.stopping.rungs import means_of

EVEN = (0.5, 0.3, 0.2)


def found(given: dict[str, Any], **values: float) -> dict[str, float]:
    return violations(constraints_of(given), values, [EVEN])


def test_a_violation_is_the_share_of_the_bound_that_is_missed() -> None:
    given = {"cost": {"max": 8}, "score": {"min": 0.8}}
    assert found(given, cost=10.0, score=0.6) == pytest.approx({"cost": 0.25, "score": 0.25})
    assert found(given, cost=6.0, score=0.9) == pytest.approx({"cost": -0.25, "score": -0.125})


def test_the_unit_of_a_cost_changes_nothing() -> None:
    euros, cents = found({"cost": {"max": 8}}, cost=10.0), found({"cost": {"max": 800}}, cost=1000)
    assert euros == pytest.approx(cents)


def test_on_the_bound_is_kept() -> None:
    kept = found({"cost": {"max": 8, "min": 8}}, cost=8.0)
    assert kept == {"cost": 0.0}
    assert total(kept) == 0.0


def test_of_two_bounds_the_broken_one_counts() -> None:
    given = {"cost": {"min": 4, "max": 8}}
    assert found(given, cost=2.0)["cost"] == pytest.approx(0.5)
    assert found(given, cost=12.0)["cost"] == pytest.approx(0.5)
    assert found(given, cost=6.0)["cost"] < 0


def test_a_bound_below_zero_is_scaled_by_its_size() -> None:
    assert found({"mcc": {"min": -0.5}}, mcc=-0.75)["mcc"] == pytest.approx(0.5)


def test_a_bound_of_zero_counts_the_plain_difference() -> None:
    assert found({"mcc": {"min": 0}}, mcc=-0.25)["mcc"] == 0.25


def test_what_has_no_value_breaks_every_bound() -> None:
    assert found({"cost": {"max": 8}}, cost=math.nan) == {"cost": math.inf}


def test_what_is_kept_does_not_make_up_for_what_is_broken() -> None:
    assert total({"cost": 0.25, "score": -10.0, "dead_experts": 1.0}) == 1.25


@pytest.mark.parametrize(
    ("share", "count"),
    [((1 / 3, 1 / 3, 1 / 3), 0), ((1.0, 0.0, 0.0), 2), ((0.98, 0.01, 0.0099), 1), ((), 0)],
)
def test_an_expert_under_one_percent_is_dead(share: tuple[float, ...], count: int) -> None:
    assert dead(share) == count


def test_dead_experts_are_those_that_the_report_calls_dead() -> None:
    utilization = pytest.importorskip("analysis.questions.utilization")
    from sweeps.stopping.constraints import LEAST_SHARE

    assert utilization.DEAD_SHARE == LEAST_SHARE


def test_dead_experts_are_a_mean_over_replicates() -> None:
    given = constraints_of({"dead_experts": {"max": 0}})
    assert violations(given, {}, [EVEN, (1.0, 0.0, 0.0)]) == {"dead_experts": 1.0}
    assert violations(given, {}, [EVEN, EVEN]) == {"dead_experts": 0.0}
    assert violations(given, {}, []) == {"dead_experts": math.inf}


def test_the_values_that_are_needed_are_named() -> None:
    given = {"cost": {"max": 8}, "dead_experts": {"max": 0}, "f1": {"min": 0.8}}
    assert reported(constraints_of(given)) == ("cost", "f1")


def test_constraints_survive_yaml() -> None:
    given = {"cost": {"max": 8.0}, "score": {"min": 0.8, "max": 0.95}}
    assert {each.name: each.plain() for each in constraints_of(given)} == given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cost": 8}, "write {max: number}"),
        ({"cost": {}}, "write {max: number}"),
        ({"cost": {"mox": 8}}, "did you mean max"),
        ({"cost": {"max": "8"}}, "must be a number"),
        ({"cost": {"max": True}}, "must be a number"),
        ({"cost": {"max": math.inf}}, "must be a number"),
        ({"cost": {"min": 9, "max": 8}}, "no value keeps it"),
    ],
)
def test_a_constraint_that_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        constraints_of(given)


def test_an_expert_that_runs_on_the_way_of_many_paths_is_not_dead() -> None:
    """Shares are by path, experts are judged by the examples that they run for."""
    by_path = Report(
        key="k",
        epoch=1,
        split="selection",
        metrics={"score": 0.8},
        cost={"constants": 6.0},
        losses={},
        share=(0.0, 0.995, 0.005),
        gate=(0.0, 0.995, 0.005),
        gate_entropy=0.0,
        seconds=1.0,
        runs=(1.0, 0.995, 0.005),
    )
    bounds = constraints_of({"dead_experts": {"max": 1}})
    assert means_of([by_path], ["score"], "constants", bounds).violations == {"dead_experts": 0.0}
    (again,) = Message.from_json(Message(reports=(by_path,)).to_json()).reports
    assert again == by_path
    by_expert = replace(by_path, runs=())
    assert means_of([by_expert], ["score"], "constants", bounds).violations["dead_experts"] > 0
    (data,) = Message(reports=(by_expert,)).to_json()["reports"]
    assert "runs" not in data
    assert Message.from_json({**Message().to_json(), "reports": [data]}).reports == (by_expert,)
