from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from analysis.stats import resampling
from mpc_router.tasks import TASKS as GLUE
from mpc_router.tasks import evaluate, task_of
from mpc_router.tasks._values import weighted_ranks

OWN_TASKS: dict[str, dict[str, Any]] = {
    "topics": {
        "labels": [f"c{number}" for number in range(12)],
        "metrics": [
            "macro_f1",
            "balanced_accuracy",
            "weighted_f1",
            "micro_f1",
            "matthews",
            "f1:c3",
        ],
    },
    "queues": {"labels": ["a", "b", "c"], "metrics": ["accuracy", "macro_f1"], "score": "macro_f1"},
    "prices": {"kind": "regression", "metrics": ["mean_absolute_error"]},
}
"""Tasks with the metrics that none of GLUE's has."""

TASKS = GLUE | {
    name: task_of({"name": name, "text": "t"} | tree) for name, tree in OWN_TASKS.items()
}
ALL_TASKS = ("cola", "sst2", "mrpc", "mnli", "stsb", *OWN_TASKS)


def _said(task: str, rows: int, examples: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if TASKS[task].regression:
        labels = rng.integers(0, 6, examples).astype(float)
        return labels + rng.normal(size=(rows, examples)), labels
    labels = rng.integers(0, TASKS[task].outputs, examples).astype(float)
    noise = rng.integers(0, TASKS[task].outputs, (rows, examples)).astype(float)
    return np.where(rng.random((rows, examples)) < 0.6, labels, noise), labels


@pytest.mark.parametrize("cells", [1 << 22, 100])
def test_weights_of_a_stream_are_drawn_once_for_a_small_split_and_are_the_same_for_a_large_one(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "_CELLS", cells)
    drawn = resampling.example_weights(40, 9, np.random.default_rng([5, 3]))
    first, second = (resampling.stream_weights(40, 9, 5, 3) for _ in range(2))
    assert np.array_equal(first, drawn)
    assert np.array_equal(second, drawn)
    assert (first is second) == (cells > 400)
    assert not first.flags.writeable


@pytest.mark.parametrize("name", ALL_TASKS)
def test_weights_of_one_give_the_score_of_the_task(name: str) -> None:
    predictions, labels = _said(name, 4, 90)
    found = resampling.weighted_scores(
        TASKS[name], predictions, labels, np.ones((1, 90), np.float32)
    )
    expected = evaluate(TASKS[name], predictions, labels)["score"]
    assert found[:, 0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_whole_weights_are_the_score_of_the_examples_repeated(name: str) -> None:
    predictions, labels = _said(name, 3, 60)
    weights = resampling.example_weights(60, 7, np.random.default_rng(1))
    found = resampling.weighted_scores(TASKS[name], predictions, labels, weights)
    for b, weighting in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(60), weighting)
        expected = evaluate(TASKS[name], predictions[:, drawn], labels[drawn])["score"]
        assert found[:, b] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_a_mix_is_what_simulated_coins_tend_to(name: str) -> None:
    task = TASKS[name]
    predictions, labels = _said(name, 2, 2000)
    rng = np.random.default_rng(3)
    takes_second = rng.random((200, 2000)) < 0.3
    coins = np.where(takes_second, predictions[1], predictions[0])
    simulated = evaluate(task, coins, labels)["score"].mean()
    found = resampling.mixed_scores(
        task,
        (predictions[0], predictions[1]),
        np.array([0.3]),
        labels=labels,
        weights=np.ones((1, 2000), np.float32),
    )
    assert found[0, 0] == pytest.approx(simulated, abs=2e-3)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_a_mix_that_always_takes_one_is_that_one(name: str) -> None:
    predictions, labels = _said(name, 2, 80)
    weights = resampling.example_weights(80, 3, np.random.default_rng(0))
    mixed = resampling.mixed_scores(
        TASKS[name],
        (predictions[0], predictions[1]),
        np.array([0.0, 1.0]),
        labels=labels,
        weights=weights,
    )
    alone = resampling.weighted_scores(TASKS[name], predictions, labels, weights)
    assert mixed == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("name", ["topics", "queues", "mnli", "mrpc"])
@pytest.mark.parametrize("cells", [1, 40])
def test_few_counts_at_once_give_the_same_scores(
    name: str, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, labels = _said(name, 5, 60)
    weights = resampling.example_weights(60, 3, np.random.default_rng(1))
    pair, portions = (predictions[0], predictions[1]), np.array([0.0, 0.2, 0.7])

    def scores() -> tuple[np.ndarray, np.ndarray]:
        alone = resampling.weighted_scores(TASKS[name], predictions, labels, weights)
        mixed = resampling.mixed_scores(TASKS[name], pair, portions, labels=labels, weights=weights)
        return alone, mixed

    expected = scores()
    monkeypatch.setattr(resampling, "_CELLS", cells)
    for values, whole in zip(scores(), expected, strict=True):
        np.testing.assert_array_equal(values, whole)


def test_a_class_that_a_resample_lacks_is_not_averaged_over() -> None:
    task = TASKS["queues"]
    labels = np.array([0.0, 1.0, 2.0])
    weights = np.array([[1, 1, 1], [2, 1, 0]], np.float32)
    scores = resampling.weighted_scores(task, np.array([[0.0, 1.0, 0.0]]), labels, weights)
    assert scores[0] == pytest.approx([(2 / 3 + 1 + 0) / 3, 1])


def test_a_thousand_classes_are_scored_under_many_weightings_with_little_memory() -> None:
    classes = [str(number) for number in range(1000)]
    task = task_of({"name": "m", "text": "t", "labels": classes, "metrics": ["macro_f1"]})
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 300).astype(float)
    rows = np.where(rng.random((4, 300)) < 0.6, labels, rng.integers(0, 1000, (4, 300)))
    weights = resampling.example_weights(300, 100, rng)
    tracemalloc.start()
    scores = resampling.weighted_scores(task, rows, labels, weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e8
    assert scores[:, 0] == pytest.approx(evaluate(task, rows, labels)["score"], abs=1e-12)


def test_draws_are_cut_to_what_a_score_can_be() -> None:
    draws = np.array([-3.0, 0.4, 3.0])
    assert resampling.bounded(TASKS["mrpc"], draws).tolist() == [0, 0.4, 1]
    assert resampling.bounded(TASKS["cola"], draws).tolist() == [-1, 0.4, 1]
    assert resampling.bounded(TASKS["stsb"], draws).tolist() == [-1, 0.4, 1]
    assert resampling.bounded(TASKS["prices"], draws).tolist() == [0, 0.4, 3]


def test_weighted_ranks_of_equal_weights_are_mean_ranks_less_a_half() -> None:
    values = np.array([3.0, 1.0, 3.0, 2.0, 1.0, 1.0])
    ranks = weighted_ranks(values, np.ones((1, 6)))
    assert ranks[0] == pytest.approx(rankdata(values) - 0.5)


def test_constant_predictions_correlate_with_nothing() -> None:
    labels = np.arange(30.0) % 5
    weights = resampling.example_weights(30, 20, np.random.default_rng(0))
    found = resampling.weighted_scores(TASKS["stsb"], np.full((1, 30), 2.7), labels, weights)
    assert (found == 0).all()


def test_every_resample_draws_as_many_examples_as_there_are() -> None:
    weights = resampling.example_weights(50, 300, np.random.default_rng(0))
    assert weights.shape == (301, 50)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 50).all()


def test_the_interval_of_a_mean_has_the_width_of_its_standard_error() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random((1, 800)) < 0.8).astype(float)
    weights = resampling.example_weights(800, 2000, rng)
    scores = resampling.weighted_scores(TASKS["sst2"], right, np.ones(800), weights)
    low, high = resampling.interval(scores)
    error = np.sqrt(scores[0, 0] * (1 - scores[0, 0]) / 800)
    assert (high - low)[0] == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_spearman_of_a_resample_ranks_the_resample_anew() -> None:
    predictions, labels = _said("stsb", 1, 40)
    weights = resampling.example_weights(40, 1, np.random.default_rng(8))
    drawn = np.repeat(np.arange(40), weights[1].astype(int))
    ranks = [weighted_ranks(v, weights.astype(float))[1] for v in (predictions[0], labels)]
    found = np.corrcoef(ranks[0][drawn], ranks[1][drawn])[0, 1]
    assert found == pytest.approx(spearmanr(predictions[0][drawn], labels[drawn]).statistic)
