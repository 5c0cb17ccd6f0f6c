"""Labels made of experts' outputs, and what they weigh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mpc_router.frozen._labels import (
    Supervision,
    cheapest_right,
    expert_losses,
    label_weights,
    loss_and_cost,
)
from mpc_router.prepare.frozen import Prepared
from tests.mpc_router.conftest import random_prepared
from tests.mpc_router.stacks import config

COSTS = (2.0, 7.0, 13.0)


def said(right: Sequence[str]) -> np.ndarray[Any, Any]:
    """Outputs (N, K, 2) of experts that say class 1 where the row's digit is 1, else class 0."""
    ones = np.array([[int(digit) for digit in row] for row in right])
    return np.stack([1 - ones, ones], -1).astype(np.float32)


def supervised(**settings: Any) -> Any:
    return config(**{"router": "supervised", "alpha": 0, "beta": 0, **settings})


def test_the_cheapest_right_expert_is_the_oracles_route() -> None:
    labels = cheapest_right(said(["111", "011", "001", "100", "000"]), np.ones(5), COSTS)
    assert labels.tolist() == [0, 1, 2, 0, 0]
    assert np.array(COSTS)[labels[:4]].mean() == 6.0  # FACTS 3


def test_cheapest_is_by_the_costs_that_the_trial_trains_with() -> None:
    outputs = said(["111", "011", "001", "100", "000"])
    assert cheapest_right(outputs, np.ones(5), COSTS[::-1]).tolist() == [2, 2, 2, 0, 2]
    assert cheapest_right(outputs, np.ones(5), (5, 5, 5)).tolist() == [0, 1, 2, 0, 0]


def test_of_a_regression_the_least_absolute_error_is_right() -> None:
    values = np.array([[1.0, 2.0, 3.5], [4.0, 2.0, 4.0], [0.0, 0.0, 0.0]], np.float32)
    labels = cheapest_right(values[..., None], np.array([3.0, 3.0, 3.0]), COSTS, regression=True)
    assert labels.tolist() == [2, 0, 0]


@pytest.mark.parametrize("classes", [2, 3])
def test_an_experts_loss_is_torchs_cross_entropy(classes: int) -> None:
    outputs = np.random.default_rng(0).normal(0, 9, (50, 4, classes)).astype(np.float32)
    truth = np.random.default_rng(1).integers(0, classes, 50)
    theirs = F.cross_entropy(
        torch.from_numpy(outputs).double().flatten(0, 1),
        torch.from_numpy(truth).repeat_interleave(4),
        reduction="none",
    )
    ours = expert_losses(outputs, truth.astype(np.float64))
    np.testing.assert_allclose(ours, theirs.reshape(50, 4), rtol=1e-12, atol=1e-14)


def test_an_experts_loss_is_finite_for_any_logits() -> None:
    outputs = np.array([[[1e30, -1e30], [-1e4, 1e4]]], np.float32)
    losses = expert_losses(outputs, np.array([0.0]))
    np.testing.assert_allclose(losses, [[0, 2e4]])


def test_an_experts_loss_of_a_regression_is_the_squared_error() -> None:
    outputs = np.array([[[1.0], [4.0]]], np.float32)
    assert expert_losses(outputs, np.array([3.0]), regression=True).tolist() == [[4.0, 1.0]]


def test_a_labels_cost_moves_the_label_from_the_least_loss_to_the_cheapest() -> None:
    losses = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4], [0.5, 0.5, 0.5]])
    assert loss_and_cost(losses, COSTS, 0).tolist() == [2, 0, 0]
    # .9 + 2x, .5 + 7x, .1 + 13x: the first two meet at .08, the last two at .0667
    assert loss_and_cost(losses, COSTS, 0.05).tolist() == [2, 0, 0]
    assert loss_and_cost(losses, COSTS, 0.07).tolist() == [1, 0, 0]
    assert loss_and_cost(losses, COSTS, 0.09).tolist() == [0, 0, 0]
    for most in (1e3, 1e300, np.finfo(np.float64).max):
        assert loss_and_cost(losses, COSTS, most).tolist() == [0, 0, 0]
        assert loss_and_cost(losses, COSTS[::-1], most).tolist() == [2, 2, 2]


def test_weights_of_the_published_counts() -> None:
    weights = label_weights(np.array([4000, 800, 200]), 0.999)
    np.testing.assert_allclose(weights, [0.36605, 0.65237, 1.98157], atol=5e-6)


def test_weights_span_all_alike_to_one_over_n() -> None:
    counts = np.array([4000, 800, 200])
    np.testing.assert_array_equal(label_weights(counts, 0), [1, 1, 1])
    inverse = 1 / counts
    nearly = label_weights(counts, 1 - 1e-13)
    np.testing.assert_allclose(nearly, inverse / inverse.mean(), rtol=1e-6)


@pytest.mark.parametrize("class_balance", [0, 0.9, 0.999])
def test_a_label_without_examples_weighs_nothing_and_changes_nothing(class_balance: float) -> None:
    weights = label_weights(np.array([0, 40, 0, 8]), class_balance)
    assert weights[[0, 2]].tolist() == [0, 0]
    np.testing.assert_array_equal(weights[[1, 3]], label_weights(np.array([40, 8]), class_balance))
    assert label_weights(np.array([0, 5]), class_balance).tolist() == [0, 1]


def test_no_example_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to weigh"):
        label_weights(np.array([0, 0]), 0.9)


def test_lanes_with_equal_labels_share_them(prepared: Prepared) -> None:
    configs = [
        supervised(),
        supervised(label_cost=3, focal_gamma=0),  # lambda is not asked for
        supervised(expert_costs=[9, 5, 1]),
        supervised(router_labels="loss_cost"),
        supervised(router_labels="loss_cost", label_cost=0.02),
        supervised(router_labels="loss_cost", class_balance=0),
    ]
    made = Supervision.of(configs, prepared.splits["train"], regression=False, device="cpu")
    assert made.of_lane.tolist() == [0, 0, 1, 2, 3, 2]
    assert made.labels.shape == (4, 600)
    assert made.gamma.tolist() == [2, 0, 2, 2, 2, 2]
    torch.testing.assert_close(made.weights.mean(-1), torch.ones(6))
    assert made.weights[5].tolist() == [1, 1, 1]
    rows = torch.arange(600).expand(6, -1)
    assert torch.equal(made.at(rows)[4], made.labels[3].long())
    kept = made.keep([4, 2])
    assert torch.equal(kept.at(rows[:2]), made.at(rows)[[4, 2]])
    assert torch.equal(kept.weights, made.weights[[4, 2]])


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
def test_labels_are_the_same_however_many_rows_are_read_at_once(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = random_prepared(task=task)
    configs = [supervised(task=task), supervised(task=task, router_labels="loss_cost")]
    train, regression = prepared.splits["train"], prepared.task.regression
    whole = Supervision.of(configs, train, regression=regression, device="cpu")
    monkeypatch.setattr("mpc_router.frozen._labels._ROWS", 7)
    parts = Supervision.of(configs, train, regression=regression, device="cpu")
    assert torch.equal(whole.labels, parts.labels)
    assert len(set(whole.labels[0].tolist())) == 3
