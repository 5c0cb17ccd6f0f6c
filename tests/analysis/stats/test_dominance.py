"""Fronts and hypervolumes: moocore, Optuna and a plain loop agree, whatever the points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _is_pareto_front

from analysis.stats.dominance import hypervolume, nondominated

Values = NDArray[np.float64]
Sets = list[tuple[Values, Values]]

SETS = 1_000


def drawn() -> Sets:
    """1,000 sets of 1 to 60 points: anywhere, near a curve, and on a coarse grid, full of twins."""
    rng = np.random.default_rng(15)
    found = []
    for number in range(SETS):
        count = int(rng.integers(1, 61))
        along, away = rng.random((2, count))
        if number % 3 == 0:
            found.append((along, away))
        elif number % 3 == 1:
            found.append((np.sqrt(along) - 0.02 * away, along))
        else:
            found.append((np.round(6 * along) / 6, np.round(6 * away) / 6))
    return found


def by_loop(scores: Values, costs: Values) -> list[int]:
    """Every point against every other; of equal points the first."""
    points = list(zip(scores.tolist(), costs.tolist(), strict=True))
    return [
        number
        for number, (score, cost) in enumerate(points)
        if not any(
            (other_score > score or other_cost < cost or other < number)
            for other, (other_score, other_cost) in enumerate(points)
            if other != number and other_score >= score and other_cost <= cost
        )
    ]


def by_staircase(scores: Values, costs: Values, reference: tuple[float, float]) -> float:
    """Area under the best score so far, from each cost to the next."""
    floor, dearest = reference
    inside = (scores > floor) & (costs < dearest)
    order = np.lexsort((-scores[inside], costs[inside]))
    area, best = 0.0, floor
    for score, cost in zip(scores[inside][order], costs[inside][order], strict=True):
        area += max(score - best, 0.0) * (dearest - cost)
        best = max(best, score)
    return area


def test_moocore_optuna_and_a_loop_find_the_same_front_of_1_000_sets() -> None:
    for scores, costs in drawn():
        mine = np.flatnonzero(nondominated(scores, costs))
        assert mine.tolist() == by_loop(scores, costs)
        table = np.column_stack([-scores, costs])
        theirs = table[_is_pareto_front(table, assume_unique_lexsorted=False)]
        assert np.array_equal(np.unique(table[mine], axis=0), np.unique(theirs, axis=0))
        assert len(np.unique(table[mine], axis=0)) == len(mine)  # twins stand once


@pytest.mark.parametrize("reference", [(-0.1, 1.1), (0.4, 0.7)])
def test_moocore_optuna_and_a_staircase_measure_the_same_area_of_1_000_sets(
    reference: tuple[float, float],
) -> None:
    """Optuna takes no point outside its reference, so it is given those inside."""
    for scores, costs in drawn():
        mine = hypervolume(scores, costs, reference=reference)
        assert mine == pytest.approx(by_staircase(scores, costs, reference), abs=1e-12)
        inside = (scores > reference[0]) & (costs < reference[1])
        table = np.column_stack([-scores, costs])[inside]
        corner = np.array([-reference[0], reference[1]])
        theirs = compute_hypervolume(table, corner) if inside.any() else 0.0
        assert mine == pytest.approx(theirs, abs=1e-12)


def test_the_front_does_not_depend_on_the_order_of_distinct_points() -> None:
    rng = np.random.default_rng(3)
    for scores, costs in drawn()[:60:3]:
        order = rng.permutation(len(scores))
        shuffled = nondominated(scores[order], costs[order])
        assert np.array_equal(shuffled, nondominated(scores, costs)[order])


@pytest.mark.parametrize(
    ("up", "across"),
    [(np.exp, np.sqrt), (lambda one: 7 * one - 2, lambda one: 1e3 * one)],
    ids=["bent", "other units"],
)
def test_the_front_does_not_depend_on_the_scales(
    up: Callable[[Values], Values], across: Callable[[Values], Values]
) -> None:
    for scores, costs in drawn()[:60]:
        bent = nondominated(up(scores), across(costs))
        assert np.array_equal(bent, nondominated(scores, costs))


def test_one_more_point_never_takes_area_away_and_the_front_alone_has_all_of_it() -> None:
    reference = (-0.1, 1.1)
    for scores, costs in drawn()[:100]:
        whole = hypervolume(scores, costs, reference=reference)
        assert hypervolume(scores[1:], costs[1:], reference=reference) <= whole + 1e-12
        front = nondominated(scores, costs)
        alone = hypervolume(scores[front], costs[front], reference=reference)
        assert alone == pytest.approx(whole, abs=1e-12)


def test_no_points_have_no_front_and_no_area() -> None:
    nothing = np.empty(0)
    assert len(nondominated(nothing, nothing)) == 0
    assert hypervolume(nothing, nothing, reference=(0.0, 1.0)) == 0
