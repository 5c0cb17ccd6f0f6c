from __future__ import annotations

import numpy as np
import pytest

from analysis.baselines import yardsticks
from analysis.stats.resampling import example_weights
from mpc_router.costs import CostVector
from mpc_router.tasks import TASKS, evaluate

SST2 = TASKS["sst2"]
FREE = CostVector(name="constants", unit="units", router=0.0, experts=(2.0, 7.0, 13.0))
PAID = CostVector(name="constants", unit="units", router=0.5, experts=(2.0, 7.0, 13.0))
LABELS = np.ones(4)
RIGHT = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=bool).T
SAID = RIGHT.astype(np.float64)
ONCE = np.ones((1, 4), np.float32)


def test_the_oracle_of_the_four_examples_is_right_at_cost_six() -> None:
    found = yardsticks.oracle(SST2, SAID, RIGHT, LABELS, vector=FREE)
    assert found == pytest.approx((1.0, 6.0))


def test_the_oracle_pays_the_router() -> None:
    found = yardsticks.oracle(SST2, SAID, RIGHT, LABELS, vector=PAID)
    assert found == pytest.approx((1.0, 6.5))


def test_the_oracle_curve_of_the_four_examples_takes_the_cheapest_gain_first() -> None:
    curve = yardsticks.oracle_curve(SST2, SAID, LABELS, vector=FREE)
    assert curve.costs == pytest.approx([2, 3.25, 6])
    assert curve.scores == pytest.approx([0.5, 0.75, 1])


def test_a_router_at_six_and_three_quarters_captures_the_published_headroom() -> None:
    mix = yardsticks.random_mix(SST2, SAID, LABELS, vector=FREE, weights=ONCE)
    curve = yardsticks.oracle_curve(SST2, SAID, LABELS, vector=FREE)
    coin = mix.at(np.array([[6.0]]))[0, 0]
    assert coin == pytest.approx(0.5 + 0.25 * 4 / 11)
    assert round(coin, 4) == 0.5909
    headroom = yardsticks.captured_headroom(np.array(0.75), np.array(coin), curve.at(np.array(6.0)))
    assert headroom == pytest.approx(0.3889, abs=5e-5)


def test_headroom_is_not_quoted_where_mix_and_oracle_meet() -> None:
    found = yardsticks.captured_headroom(np.array([0.7]), np.array([0.7]), np.array([0.71]))
    assert np.isnan(found).all()


def test_the_mix_is_the_upper_hull_of_the_single_experts() -> None:
    rng = np.random.default_rng(0)
    labels = np.ones(500)
    said = (rng.random((3, 500)) < np.array([[0.6], [0.65], [0.9]])).astype(float)
    mix = yardsticks.random_mix(
        SST2, said, labels, vector=FREE, weights=np.ones((1, 500), np.float32)
    )
    cost = np.linspace(2, 13, 23)
    single = said.mean(axis=1)
    assert single[1] < np.interp(7, [2, 13], single[[0, 2]])
    expected = np.interp(cost, [2, 13], single[[0, 2]])
    assert mix.at(cost[:, None])[:, 0] == pytest.approx(expected)


def test_a_dear_expert_that_is_worse_does_not_pull_the_mix_down() -> None:
    said = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]], float)
    mix = yardsticks.random_mix(SST2, said, LABELS, vector=FREE, weights=ONCE)
    assert mix.scores[:, 0] == pytest.approx(np.full(len(mix.costs), 0.75))


def test_the_mix_of_one_expert_is_that_expert() -> None:
    vector = CostVector(name="one", unit="units", router=0.0, experts=(2.0,))
    mix = yardsticks.random_mix(SST2, SAID[:1], LABELS, vector=vector, weights=ONCE)
    assert mix.at(np.array([[2.0], [9.0]]))[:, 0] == pytest.approx([0.5, 0.5])


def test_the_mix_of_experts_of_equal_cost_is_the_better_one() -> None:
    vector = CostVector(name="flat", unit="units", router=0.0, experts=(5.0, 5.0, 5.0))
    mix = yardsticks.random_mix(SST2, SAID, LABELS, vector=vector, weights=ONCE)
    assert mix.at(np.array([[5.0]]))[0, 0] == 0.75


def test_the_mix_for_f1_lies_at_mixed_confusion_counts_not_between_scores() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(400) < 0.3).astype(float)
    said = np.stack([np.zeros(400), labels])
    vector = CostVector(name="two", unit="units", router=0.0, experts=(0.0, 1.0))
    mix = yardsticks.random_mix(
        TASKS["mrpc"], said, labels, vector=vector, weights=np.ones((1, 400), np.float32)
    )
    tp = 0.5 * labels.sum()
    f1 = 2 * tp / (2 * tp + labels.sum() - tp)
    accuracy = 1 - 0.5 * labels.mean()
    assert mix.at(np.array([[0.5]]))[0, 0] == pytest.approx((f1 + accuracy) / 2)


def test_upgrades_follow_cost_where_the_dearest_expert_stands_first() -> None:
    reversed_costs = CostVector(name="r", unit="units", router=0.0, experts=(13.0, 7.0, 2.0))
    forward = yardsticks.oracle_curve(SST2, SAID, LABELS, vector=FREE)
    backward = yardsticks.oracle_curve(SST2, SAID[::-1], LABELS, vector=reversed_costs)
    assert backward.costs == pytest.approx(forward.costs)
    assert backward.scores == pytest.approx(forward.scores)


def test_no_router_beats_the_oracle_curve_in_accuracy() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 200).astype(float)
    right = rng.random((3, 200)) < np.array([[0.7], [0.8], [0.9]])
    said = np.where(right, labels, 1 - labels)
    curve = yardsticks.oracle_curve(SST2, said, labels, vector=PAID)
    routes = np.where(
        rng.random((300, 200)) < rng.random((300, 1)),
        yardsticks.oracle_routes(right, PAID),
        rng.integers(0, 3, (300, 200)),
    )
    scores = evaluate(SST2, np.take_along_axis(said, routes, axis=0), labels)["score"]
    assert (scores <= curve.at(PAID.of_routes(routes).mean(axis=1)) + 1e-12).all()


def test_the_oracle_curve_of_a_regression_ends_at_the_least_errors() -> None:
    rng = np.random.default_rng(4)
    labels = rng.uniform(0, 5, 300)
    said = labels + rng.normal(size=(3, 300)) * np.array([[2], [1], [0.5]])
    error = np.abs(said - labels)
    curve = yardsticks.oracle_curve(TASKS["stsb"], said, labels, vector=FREE)
    score, cost = yardsticks.oracle(
        TASKS["stsb"], said, error == error.min(axis=0), labels, vector=FREE
    )
    assert (curve.costs[-1], curve.scores[-1]) == pytest.approx((cost, score))
    assert (np.diff(curve.costs) > 0).all()


def test_the_majority_is_chosen_on_one_split_and_quoted_on_another() -> None:
    constant, values = yardsticks.majority(
        TASKS["mrpc"], np.array([1.0, 1, 0]), np.array([0.0, 0, 0, 1])
    )
    assert constant == 1
    assert values["accuracy"] == 0.25
    assert values["f1"] == pytest.approx(2 / 5)


def test_a_constant_guess_of_a_regression_scores_nothing() -> None:
    constant, values = yardsticks.majority(TASKS["stsb"], np.array([1.0, 3.0]), np.arange(4.0))
    assert constant == 2
    assert set(values.values()) == {0.0}


def test_resampled_mixes_belong_to_their_own_resample() -> None:
    weights = example_weights(4, 6, np.random.default_rng(0))
    mix = yardsticks.random_mix(SST2, SAID, LABELS, vector=FREE, weights=weights)
    alone = yardsticks.random_mix(SST2, SAID, LABELS, vector=FREE, weights=weights[3:4])
    assert mix.scores[:, 3] == pytest.approx(alone.scores[:, 0])
