from __future__ import annotations

import numpy as np
import pytest

from analysis.baselines.curve_scores import _concave_hull, aiq, apgr, cpt, pgr, strong_share
from analysis.baselines.yardsticks import random_mix
from mpc_router.costs import CostVector
from mpc_router.tasks import TASKS

COSTS, SCORES = np.array([2.0, 7.0, 13.0]), np.array([0.70, 0.80, 0.85])
ENDS = (2.0, 13.0)
SHARES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
ROUTED = np.array([0.70, 0.74, 0.77, 0.79, 0.80])
GAPS = pgr(ROUTED, weak=0.70, strong=0.80)


def test_aiq_of_the_three_models_is_the_mean_height_of_two_trapezoids() -> None:
    expected = ((0.70 + 0.80) / 2 * 5 + (0.80 + 0.85) / 2 * 6) / 11
    assert aiq(COSTS, SCORES, ends=ENDS) == pytest.approx(expected)
    assert round(expected, 4) == 0.7909


def test_aiq_of_a_router_is_held_to_the_dearest_expert() -> None:
    found = aiq(np.array([2.0, 5.0, 9.0]), np.array([0.70, 0.80, 0.86]), ends=ENDS)
    assert round(found, 4) == 0.8191


def test_two_points_and_one_point_have_an_aiq() -> None:
    assert aiq(COSTS[:2], SCORES[:2], ends=(2.0, 7.0)) == pytest.approx(0.75)
    assert aiq(COSTS[:1], SCORES[:1], ends=ENDS) == pytest.approx(0.70)


@pytest.mark.parametrize("extra", [(7.0, 0.75), (10.0, 0.79), (4.0, 0.70)])
def test_points_under_the_hull_change_no_aiq(extra: tuple[float, float]) -> None:
    costs, scores = np.append(COSTS, extra[0]), np.append(SCORES, extra[1])
    assert aiq(costs, scores, ends=ENDS) == pytest.approx(aiq(COSTS, SCORES, ends=ENDS))


def test_a_unit_of_cost_changes_no_aiq_and_a_better_score_raises_it() -> None:
    before = aiq(COSTS, SCORES, ends=ENDS)
    assert aiq(60 * COSTS, SCORES, ends=(120.0, 780.0)) == pytest.approx(before)
    assert aiq(COSTS, SCORES + 0.01, ends=ENDS) == pytest.approx(before + 0.01)


def test_the_hull_is_the_random_mix_of_experts_for_accuracy() -> None:
    rng = np.random.default_rng(3)
    said = (rng.random((4, 400)) < np.array([[0.6], [0.62], [0.8], [0.78]])).astype(float)
    vector = CostVector(name="c", unit="units", router=0.0, experts=(2.0, 4.0, 7.0, 13.0))
    once = np.ones((1, 400), np.float32)
    mix = random_mix(TASKS["sst2"], said, np.ones(400), vector=vector, weights=once)
    hull = _concave_hull(np.array(vector.experts), said.mean(axis=1))
    assert hull.at(mix.costs) == pytest.approx(mix.scores[:, 0])


@pytest.mark.parametrize("seed", range(10))
def test_a_hull_is_concave_never_falls_and_lies_over_its_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, scores = rng.integers(0, 9, 20) / 8, rng.integers(0, 9, 20) / 8
    hull = _concave_hull(costs, scores)
    assert (hull.at(costs) >= scores - 1e-12).all()
    slopes = np.diff(hull.scores) / np.diff(hull.costs)
    assert (slopes > 0).all()
    assert (np.diff(slopes) < 0).all()


def test_a_router_that_begins_dearer_needs_what_is_had_before_it() -> None:
    costs, scores = np.array([3.0]), np.array([0.80])
    with pytest.raises(ValueError, match="floor"):
        aiq(costs, scores, ends=ENDS)
    expected = ((0.70 + 0.80) / 2 * 1 + 0.80 * 10) / 11
    assert aiq(costs, scores, ends=ENDS, floor=0.70) == pytest.approx(expected)


def test_a_point_cheaper_than_the_cheapest_expert_counts_from_there_on() -> None:
    found = aiq(np.array([0.0, 4.0]), np.array([0.60, 0.80]), ends=(2.0, 4.0))
    assert found == pytest.approx(0.75)


def test_the_gap_recovered_is_that_of_the_published_fixture() -> None:
    assert pytest.approx([0, 0.4, 0.7, 0.9, 1]) == GAPS
    assert apgr(SHARES, GAPS) == pytest.approx(0.625)
    assert cpt(SHARES, GAPS, wanted=0.5) == pytest.approx(1 / 3)
    assert cpt(SHARES, GAPS, wanted=0.8) == pytest.approx(0.625)


@pytest.mark.parametrize("shares", [[0.5], [0.0, 1.0], [0.2, 0.9], [0.1, 0.4, 0.6]])
def test_a_coin_recovers_half_and_needs_what_it_recovers(shares: list[float]) -> None:
    coin = np.array(shares)
    assert apgr(coin, coin) == pytest.approx(0.5)
    assert cpt(coin, coin, wanted=0.8) == pytest.approx(0.8)


def test_the_order_of_points_changes_nothing() -> None:
    back = slice(None, None, -1)
    assert apgr(SHARES[back], GAPS[back]) == pytest.approx(0.625)
    assert cpt(SHARES[back], GAPS[back], wanted=0.5) == pytest.approx(1 / 3)


def test_of_a_gap_that_falls_again_the_first_crossing_counts() -> None:
    gaps = np.array([0.0, 0.9, 0.3, 0.6, 1.0])
    assert cpt(SHARES, gaps, wanted=0.45) == pytest.approx(0.125)


def test_what_is_never_recovered_has_no_share() -> None:
    assert np.isnan(cpt(SHARES, 0.5 * GAPS, wanted=0.8))


def test_shares_beyond_one_are_cut_at_one() -> None:
    shares, gaps = np.array([0.0, 2.0]), np.array([0.0, 1.0])
    assert apgr(shares, gaps) == pytest.approx(0.25)
    assert np.isnan(cpt(shares, gaps, wanted=0.8))


def test_of_two_experts_the_normalised_cost_is_the_share_of_strong_calls() -> None:
    share = np.array([0.0, 0.3, 1.0])
    costs = 2 * (1 - share) + 13 * share
    assert strong_share(costs, weak=2.0, strong=13.0) == pytest.approx(share)


def test_experts_without_a_gap_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="no gap"):
        pgr(ROUTED, weak=0.8, strong=0.8)
    with pytest.raises(ValueError, match="must rise"):
        strong_share(COSTS, weak=7.0, strong=2.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        aiq(np.array([2.0, 7.0]), np.array([0.7, bad]), ends=ENDS)


def test_other_numbers_of_costs_than_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="as many of both"):
        aiq(COSTS, SCORES[:2], ends=ENDS)


@pytest.mark.parametrize("wanted", [-0.1, 50.0])
def test_a_threshold_in_per_cent_is_refused(wanted: float) -> None:
    with pytest.raises(ValueError, match=r"CPT\(50\) is 0.5"):
        cpt(SHARES, GAPS, wanted=wanted)
