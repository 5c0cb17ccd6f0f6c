from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.stats.choice import best_within, cheapest_reaching, front_chance, knee, optimism
from analysis.stats.dominance import nondominated

Values = NDArray[np.float64]

SCORES, COSTS = np.array([0.70, 0.80, 0.85, 0.60]), np.array([2.0, 7.0, 13.0, 9.0])


def _same(values: Values, resamples: int) -> Values:
    return np.repeat(values[:, None], 1 + resamples, axis=1)


def test_points_that_never_vary_are_on_the_front_always_or_never() -> None:
    found = front_chance(_same(SCORES, 5), _same(COSTS, 5))
    assert found.tolist() == [1, 1, 1, 0]
    assert (found == nondominated(SCORES, COSTS)).all()


def test_twins_are_both_on_the_front() -> None:
    scores, costs = np.array([0.8, 0.8, 0.7]), np.array([5.0, 5.0, 5.0])
    assert front_chance(_same(scores, 3), _same(costs, 3)).tolist() == [1, 1, 0]


def test_the_estimate_itself_is_no_resample() -> None:
    scores = np.array([[0.9, 0.1, 0.1, 0.1], [0.5, 0.5, 0.5, 0.5]])
    found = front_chance(scores, np.ones_like(scores))
    assert found.tolist() == [0, 1]


def test_the_chance_of_two_points_that_swing_is_that_of_the_normal_law() -> None:
    rng = np.random.default_rng(0)
    count = 20_000
    scores = np.stack([rng.normal(0.80, 0.03, count), rng.normal(0.83, 0.04, count)])
    found = front_chance(scores, np.ones_like(scores))
    beaten = 0.2742531  # Phi(-0.03 / 0.05)
    assert found == pytest.approx([beaten, 1 - beaten], abs=0.01)


def test_the_order_of_points_changes_no_chance() -> None:
    rng = np.random.default_rng(1)
    scores, costs = rng.random((6, 40)), rng.random((6, 40))
    order = rng.permutation(6)
    assert front_chance(scores[order], costs[order]) == pytest.approx(
        front_chance(scores, costs)[order]
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused(bad: float) -> None:
    scores = _same(SCORES, 2)
    scores[2, 1] = bad
    with pytest.raises(ValueError, match="point 2"):
        front_chance(scores, _same(COSTS, 2))
    with pytest.raises(ValueError, match="point 2"):
        optimism(scores, _same(SCORES, 2), np.ones(4, bool))
    with pytest.raises(ValueError, match="point 2"):
        best_within(scores[:, 1], COSTS, cap=9)


def test_chances_need_a_resample() -> None:
    with pytest.raises(ValueError, match="at least one resample"):
        front_chance(_same(SCORES, 0), _same(COSTS, 0))


def test_a_split_that_is_easier_for_all_is_no_optimism_of_the_choice() -> None:
    quoted = _same(SCORES, 4)
    found = optimism(quoted + 0.05, quoted, np.array([True, False, True, False]))
    assert (found.chosen, found.all) == pytest.approx((0.05, 0.05))
    assert (found.extra, found.extra_low, found.extra_high) == pytest.approx((0, 0, 0))


def test_a_choice_of_everything_adds_nothing() -> None:
    rng = np.random.default_rng(2)
    found = optimism(rng.random((5, 30)), rng.random((5, 30)), np.ones(5, bool))
    assert found.extra == pytest.approx(0)


def test_the_best_of_equal_points_looks_better_by_the_noise_it_was_picked_for() -> None:
    """Expected optimism of the best of P equal points is that of the maximum of P normals."""
    rng = np.random.default_rng(3)
    runs, count, noise = 4000, 5, 0.02
    gains = []
    for _ in range(runs):
        selection, quoted = rng.normal(0.8, noise, (2, count, 2))
        gains.append(optimism(selection, quoted, selection[:, 0] == selection[:, 0].max()).extra)
    expected = 1.16296 * noise  # mean of the largest of five standard normals
    assert np.mean(gains) == pytest.approx(expected, abs=4 * np.std(gains) / np.sqrt(runs))


def test_no_choice_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="no point is chosen"):
        optimism(_same(SCORES, 2), _same(SCORES, 2), np.zeros(4, bool))
    with pytest.raises(ValueError, match="the same points"):
        optimism(_same(SCORES, 2), _same(SCORES, 3), np.ones(4, bool))


def test_the_knee_bulges_most_over_the_line_between_the_ends() -> None:
    scores, costs = np.array([0.0, 0.5, 0.9, 1.0]), np.array([0.0, 0.4, 0.5, 1.0])
    assert knee(scores, costs) == 2


@pytest.mark.parametrize(("up", "across"), [(100.0, 1.0), (1.0, 60.0), (0.01, 1000.0)])
def test_units_move_no_knee(up: float, across: float) -> None:
    rng = np.random.default_rng(4)
    costs = np.sort(rng.random(9))
    scores = np.sqrt(costs)
    assert knee(up * scores + 3, across * costs + 7) == knee(scores, costs)


def test_the_knee_of_a_square_root_is_where_it_rises_as_the_line_does() -> None:
    costs = np.linspace(0, 1, 401)
    found = knee(np.sqrt(costs), costs)
    assert found is not None
    assert costs[found] == pytest.approx(0.25)


def test_dominated_points_are_no_knee() -> None:
    scores, costs = np.append(SCORES, 0.81), np.append(COSTS, 12.9)
    assert knee(scores, costs) == knee(SCORES, COSTS) == 1


@pytest.mark.parametrize(
    ("scores", "costs"),
    [([0.7], [2.0]), ([0.7, 0.8], [2.0, 7.0]), ([0.0, 0.5, 1.0], [0.0, 0.5, 1.0])],
)
def test_a_front_that_does_not_bulge_has_no_knee(scores: list[float], costs: list[float]) -> None:
    assert knee(np.array(scores), np.array(costs)) is None


@pytest.mark.parametrize(("cap", "expected"), [(1.9, None), (2, 0), (12.9, 1), (99, 2)])
def test_the_best_score_under_a_cap(cap: float, expected: int | None) -> None:
    assert best_within(SCORES, COSTS, cap=cap) == expected


@pytest.mark.parametrize(("score", "expected"), [(0.1, 0), (0.71, 1), (0.85, 2), (0.86, None)])
def test_the_least_cost_for_a_score(score: float, expected: int | None) -> None:
    assert cheapest_reaching(SCORES, COSTS, score=score) == expected


def test_of_equal_scores_the_cheapest_and_of_equal_costs_the_best() -> None:
    assert best_within(np.array([0.8, 0.8]), np.array([5.0, 3.0]), cap=9) == 1
    assert cheapest_reaching(np.array([0.8, 0.9]), np.array([3.0, 3.0]), score=0.5) == 1


@pytest.mark.parametrize("seed", range(10))
def test_what_is_chosen_lies_on_the_front(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, costs = rng.random(20), rng.random(20)
    front = nondominated(scores, costs)
    for chosen in (
        best_within(scores, costs, cap=0.6),
        cheapest_reaching(scores, costs, score=0.6),
        knee(scores, costs),
    ):
        assert chosen is None or front[chosen]
