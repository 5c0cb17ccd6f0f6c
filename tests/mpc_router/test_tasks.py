from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

from mpc_router.tasks import TASKS, evaluate
from mpc_router.tasks._counts import Counts, f1_of_class, matthews

LANES, EXAMPLES = 7, 211


def stack(task_name: str, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    generator = np.random.default_rng(seed)
    task = TASKS[task_name]
    if task.regression:
        scores = generator.integers(0, 26, EXAMPLES) / 5.0
        return scores + generator.normal(0, 2, (LANES, EXAMPLES)).round(1), scores
    classes = len(task.label_names)
    labels: NDArray[Any] = generator.integers(0, classes, EXAMPLES)
    noise = generator.integers(0, classes, (LANES, EXAMPLES))
    return np.where(generator.random((LANES, EXAMPLES)) < 0.6, labels, noise), labels


REFERENCE = {
    "accuracy": lambda labels, guess: metrics.accuracy_score(labels, guess),
    "f1": lambda labels, guess: metrics.f1_score(labels, guess),
    "matthews": lambda labels, guess: metrics.matthews_corrcoef(labels, guess),
    "pearson": lambda labels, guess: stats.pearsonr(labels, guess).statistic,
    "spearman": lambda labels, guess: stats.spearmanr(labels, guess).statistic,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TASKS)
def test_a_stack_scores_as_the_references_do_lane_by_lane(name: str, seed: int) -> None:
    task = TASKS[name]
    predictions, labels = stack(name, seed)
    values = evaluate(task, predictions, labels)
    assert list(values) == ["score", *task.metrics]
    for metric in task.metrics:
        expected = [REFERENCE[metric](labels, lane) for lane in predictions]
        np.testing.assert_allclose(values[metric], expected, rtol=0, atol=1e-12)
    mean = np.mean([values[metric] for metric in task.metrics], axis=0)
    np.testing.assert_allclose(values["score"], mean, rtol=0, atol=1e-15)


def test_the_published_scores_are_the_tasks_scores() -> None:
    assert {name: task.metrics for name, task in TASKS.items()} == {
        "cola": ("matthews",),
        "sst2": ("accuracy",),
        "mnli": ("accuracy",),
        "qnli": ("accuracy",),
        "rte": ("accuracy",),
        "mrpc": ("accuracy", "f1"),
        "qqp": ("accuracy", "f1"),
        "stsb": ("pearson", "spearman"),
    }


@pytest.mark.parametrize("name", TASKS)
def test_the_order_of_examples_and_the_company_of_lanes_change_nothing(name: str) -> None:
    predictions, labels = stack(name, 5)
    order = np.random.default_rng(1).permutation(EXAMPLES)
    whole = evaluate(TASKS[name], predictions, labels)
    shuffled = evaluate(TASKS[name], predictions[:, order], labels[order])
    alone = evaluate(TASKS[name], predictions[2:3], labels)
    for metric, value in whole.items():
        np.testing.assert_allclose(shuffled[metric], value, atol=1e-12)
        np.testing.assert_allclose(alone[metric], value[2:3], atol=1e-12)


@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_a_constant_guess_has_a_value_and_no_warning(metric: str) -> None:
    labels = np.array([0, 1, 0, 1])
    zeros = np.zeros((1, 4))
    counts = Counts.of(zeros, labels, 2)
    values = {"f1": f1_of_class(counts, 1), "matthews": matthews(counts)}
    assert values[metric] == pytest.approx(0)


def test_a_constant_value_correlates_with_nothing() -> None:
    values = evaluate(TASKS["stsb"], np.full((1, 5), 2.5), np.arange(5.0))
    assert values["score"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        (np.zeros(3), np.zeros(3)),
        (np.zeros((2, 3)), np.zeros(4)),
        (np.zeros((2, 0)), np.zeros(0)),
        (np.array([[1.0, np.nan]]), np.zeros(2)),
    ],
)
def test_what_has_no_score_is_refused(predictions: NDArray[Any], labels: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"need|no example|NaN"):
        evaluate(TASKS["mrpc"], predictions, labels)
