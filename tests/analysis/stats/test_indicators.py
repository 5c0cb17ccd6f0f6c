from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.stats.dominance import hypervolume
from analysis.stats.indicators import (
    Frame,
    attainment,
    contributions,
    epsilon,
    hypervolume_history,
    igd_plus,
)
from mpc_router.costs import CostVector

Values = NDArray[np.float64]

REFERENCE = (0.0, 14.0)
SCORES, COSTS = np.array([0.70, 0.80, 0.85]), np.array([2.0, 7.0, 13.0])
BOX = Frame(score=(0.0, 1.0), cost=(0.0, 1.0))
VECTOR = CostVector(name="c", unit="units", router=0.3, experts=(2.0, 7.0, 13.0))


def _cloud(seed: int, count: int = 12) -> tuple[Values, Values]:
    rng = np.random.default_rng(seed)
    return rng.random(count), rng.random(count)


def _shortfalls(points: tuple[Values, Values], best: tuple[Values, Values]) -> tuple[Values, ...]:
    """How far each point (P) falls short of each of the best (R), in score and in cost: (R, P)."""
    score = best[0][:, None] - points[0][None]
    cost = points[1][None] - best[1][:, None]
    return score, cost


@pytest.mark.parametrize("seed", range(10))
def test_igd_plus_is_the_mean_least_shortfall_by_hand(seed: int) -> None:
    points, best = _cloud(seed), _cloud(100 + seed, 7)
    score, cost = _shortfalls(points, best)
    expected = np.hypot(score.clip(0), cost.clip(0)).min(axis=1).mean()
    assert igd_plus(points, best, BOX) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(10))
def test_epsilon_is_the_least_shift_that_covers_by_hand(seed: int) -> None:
    points, best = _cloud(seed), _cloud(100 + seed, 7)
    expected = np.maximum(*_shortfalls(points, best)).min(axis=1).max()
    assert epsilon(points, best, BOX) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_a_set_falls_short_of_itself_by_nothing(seed: int) -> None:
    points = _cloud(seed)
    assert igd_plus(points, points, BOX) == 0
    assert epsilon(points, points, BOX) == pytest.approx(0)


def test_a_set_that_is_better_everywhere_falls_short_by_nothing_and_could_give_away() -> None:
    best = (np.array([0.5, 0.6]), np.array([0.3, 0.5]))
    better = (best[0] + 0.1, best[1] - 0.1)
    assert igd_plus(better, best, BOX) == 0
    assert epsilon(better, best, BOX) == pytest.approx(-0.1)


def test_a_change_of_the_units_of_cost_and_score_changes_no_distance() -> None:
    points, best = _cloud(1), _cloud(2)
    wide = Frame(score=(-50.0, 50.0), cost=(1.0, 201.0))

    def moved(one: tuple[Values, Values]) -> tuple[Values, Values]:
        return one[0] * 100 - 50, one[1] * 200 + 1

    assert igd_plus(moved(points), moved(best), wide) == pytest.approx(igd_plus(points, best, BOX))
    assert epsilon(moved(points), moved(best), wide) == pytest.approx(epsilon(points, best, BOX))


def test_the_frame_of_the_singles_reaches_from_the_default_reference_to_the_best() -> None:
    frame = Frame.of_singles(np.array([0.7, 0.8, 0.9]), VECTOR)
    assert frame.score == pytest.approx((0.68, 0.9))
    assert frame.cost == pytest.approx((2.3, 13.3))
    assert frame.place(np.array([0.68, 0.9]), np.array([13.3, 2.3])) == pytest.approx(
        np.array([[0.0, 1.0], [1.0, 0.0]])
    )


def test_experts_that_all_score_the_same_give_no_frame() -> None:
    with pytest.raises(ValueError, match="no area"):
        Frame.of_singles(np.array([0.8, 0.8, 0.8]), VECTOR)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    points = np.array([0.5, bad]), np.array([0.1, 0.2])
    for measure in (igd_plus, epsilon):
        with pytest.raises(ValueError, match="point 1"):
            measure(points, _cloud(0), BOX)
    with pytest.raises(ValueError, match="finite"):
        contributions(*points, reference=REFERENCE)
    with pytest.raises(ValueError, match="finite"):
        attainment([points])


def test_contributions_of_the_three_points_are_their_own_corners() -> None:
    expected = [(7 - 2) * 0.70, (0.80 - 0.70) * (13 - 7), (0.85 - 0.80) * (14 - 13)]
    assert contributions(SCORES, COSTS, reference=REFERENCE) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_a_contribution_is_what_the_hypervolume_loses_without_the_point(seed: int) -> None:
    scores, costs = _cloud(seed)
    scores[0], costs[0] = 0.99, 1.4  # outside of the reference
    reference = (0.1, 0.95)
    total = hypervolume(scores, costs, reference=reference)
    for number, gain in enumerate(contributions(scores, costs, reference=reference)):
        rest = np.delete(scores, number), np.delete(costs, number)
        assert gain == pytest.approx(total - hypervolume(*rest, reference=reference), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_history_is_the_hypervolume_of_every_beginning(seed: int) -> None:
    scores, costs = _cloud(seed, 30)
    reference = (0.2, 0.9)
    expected = [
        hypervolume(scores[:count], costs[:count], reference=reference) for count in range(1, 31)
    ]
    assert hypervolume_history(scores, costs, reference=reference) == pytest.approx(expected)


def test_a_failed_trial_adds_nothing_to_the_history() -> None:
    scores, costs = np.insert(SCORES, 1, np.nan), np.insert(COSTS, 1, 1.0)
    found = hypervolume_history(scores, costs, reference=REFERENCE)
    assert found == pytest.approx([8.4, 8.4, 9.1, 9.15])


def test_the_median_of_three_seeds_is_what_two_of_them_reach() -> None:
    costs = np.array([1.0, 2.0])
    seeds = [(np.array(scores), costs) for scores in ([0.1, 0.4], [0.2, 0.5], [0.3, 0.6])]
    (median,) = attainment(seeds, [0.5])
    assert median.costs == pytest.approx([1, 2])
    assert median.scores == pytest.approx([0.2, 0.5])


@pytest.mark.parametrize("seeds", [1, 2, 5, 8])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_a_surface_is_the_score_that_enough_seeds_reach_at_every_cost(
    seeds: int, share: float
) -> None:
    clouds = [_cloud(seed, 4 + seed) for seed in range(seeds)]
    (surface,) = attainment(clouds, [share])
    enough = int(np.ceil(share * seeds))
    grid = np.linspace(0, 1, 41)
    reached = np.array(
        [[scores[costs <= cost].max(initial=-np.inf) for cost in grid] for scores, costs in clouds]
    )
    expected = np.sort(reached, axis=0)[seeds - enough]
    expected[np.isinf(expected)] = np.nan
    assert surface.at(grid) == pytest.approx(expected, nan_ok=True)


def test_more_seeds_to_reach_it_never_raise_a_surface() -> None:
    low, middle, high = attainment([_cloud(seed) for seed in range(8)])
    grid = np.linspace(0, 1, 41)
    for easier, harder in ((low, middle), (middle, high)):
        there = ~np.isnan(harder.at(grid))
        assert (easier.at(grid)[there] >= harder.at(grid)[there]).all()


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        attainment([_cloud(0)], [share])


def test_no_seed_has_no_surface() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        attainment([])
