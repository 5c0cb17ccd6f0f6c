from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.baselines import label_blind, yardsticks
from mpc_router.costs import CostVector
from mpc_router.tasks import TASKS, score_of

Values = NDArray[np.float64]

SST2, STSB = TASKS["sst2"], TASKS["stsb"]
FREE = CostVector(name="constants", unit="units", router=0.0, experts=(2.0, 7.0, 13.0))
LABELS = np.ones(4)
SAID = np.array([[1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=np.float64).T
ONCE = np.ones((1, 4), np.float32)


def blind_of(
    predictions: Values, labels: Values, vector: CostVector = FREE
) -> label_blind.LabelBlind:
    weights = np.ones((1, len(labels)), np.float32)
    return label_blind.label_blind(
        SST2, (predictions, labels), predictions, labels, vector=vector, weights=weights
    )


def test_the_four_examples_by_hand() -> None:
    # the large expert says 1, 1, 1, 0; tiny agrees on the first, base on the second and fourth
    routes = label_blind._agreeing_routes(SAID, 2, FREE)
    assert routes.tolist() == [0, 1, 2, 1]
    blind = blind_of(SAID, LABELS)
    assert (blind.expert, blind.tolerance) == (2, 0.0)
    assert blind.scores == pytest.approx([0.75])
    assert blind.free == pytest.approx([(2 + 7 + 13 + 7) / 4])
    assert blind.paid == pytest.approx([2 + (0 + 7 + 13 + 7) / 4])


def test_its_score_is_that_of_the_best_expert_and_its_cost_no_more_than_the_experts() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 400).astype(float)
    right = rng.random((3, 400)) < np.array([[0.6], [0.7], [0.8]])
    predictions = np.where(right, labels, 1 - labels)
    blind = blind_of(predictions, labels)
    assert blind.expert == 2
    assert blind.scores[0] == right[2].mean()
    assert 2 <= blind.free[0] <= 13


def test_experts_that_always_agree_cost_what_the_cheapest_costs() -> None:
    predictions = np.tile(LABELS, (3, 1))
    blind = blind_of(predictions, LABELS)
    assert blind.free == blind.paid == pytest.approx([2.0])


def test_an_expert_that_is_cheapest_and_best_is_the_yardstick() -> None:
    predictions = np.stack([LABELS, 1 - LABELS, 1 - LABELS])
    blind = blind_of(predictions, LABELS)
    assert blind.expert == 0
    assert blind.free == pytest.approx([2.0])


def test_of_equal_experts_the_cheapest_is_best() -> None:
    predictions = np.array([[1, 1, 1, 0], [1, 1, 0, 1], [1, 1, 1, 0]], float)
    assert label_blind._best_single(SST2, predictions, LABELS, FREE) == 0


def test_resampled_examples_weigh_the_mean_cost() -> None:
    weights = np.array([[1, 1, 1, 1], [4, 0, 0, 0], [0, 0, 2, 2]], np.float32)
    blind = label_blind.label_blind(
        SST2, (SAID, LABELS), SAID, LABELS, vector=FREE, weights=weights
    )
    assert blind.free == pytest.approx([7.25, 2.0, 10.0])
    assert blind.scores == pytest.approx([0.75, 1.0, 0.5])


def test_a_regression_agrees_within_the_widest_tolerance_that_costs_no_score() -> None:
    rng = np.random.default_rng(0)
    labels = np.linspace(0, 5, 200)
    best = labels + rng.normal(0, 0.3, 200)
    near = best + np.where(np.arange(200) % 2, 0.001, 3.0) * np.where(labels > 2.5, -1, 1)
    predictions = np.stack([near, best])
    vector = CostVector(name="two", unit="units", router=0.0, experts=(1.0, 10.0))
    tolerance = label_blind._widest_tolerance(STSB, predictions, labels, expert=1, vector=vector)
    assert 0.001 <= tolerance < 3.0
    routes = label_blind._agreeing_routes(predictions, 1, vector, tolerance=tolerance)
    assert 0.4 <= (routes == 0).mean() <= 0.6
    answers = np.take_along_axis(predictions, routes[None], axis=0)
    assert score_of(STSB, answers, labels)[0] >= score_of(STSB, best[None], labels)[0]


def test_the_area_of_the_coin_is_the_mean_height_between_cheapest_and_dearest() -> None:
    mix = yardsticks.random_mix(SST2, SAID, LABELS, vector=FREE, weights=ONCE)
    # a line from (2, .5) to (13, .75)
    assert label_blind.mix_area(mix) == pytest.approx([0.625])


def test_areas_order_coin_label_blind_and_oracle() -> None:
    rng = np.random.default_rng(1)
    labels = np.ones(600)
    right = rng.random((3, 600)) < np.array([[0.65], [0.75], [0.85]])
    predictions = right.astype(float)
    weights = np.ones((1, 600), np.float32)
    mix = yardsticks.random_mix(SST2, predictions, labels, vector=FREE, weights=weights)
    blind = blind_of(predictions, labels)
    oracle = yardsticks.oracle_curve(SST2, predictions, labels, vector=FREE)
    ends, floor = (2.0, 13.0), mix.scores[0]
    blind_area = label_blind.hull_area(blind.free[None], blind.scores[None], ends=ends, floor=floor)
    oracle_area = label_blind.hull_area(
        oracle.costs[:, None], oracle.scores[:, None], ends=ends, floor=floor
    )
    assert label_blind.mix_area(mix)[0] < blind_area[0] < oracle_area[0]


def test_the_hull_of_the_single_experts_is_the_coin() -> None:
    mix = yardsticks.random_mix(SST2, SAID, LABELS, vector=FREE, weights=ONCE)
    costs = np.array(FREE.experts)[:, None]
    area = label_blind.hull_area(
        costs, SAID.mean(axis=1)[:, None], ends=(2.0, 13.0), floor=mix.scores[0]
    )
    assert area == pytest.approx(label_blind.mix_area(mix))
