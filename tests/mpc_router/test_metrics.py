"""Metrics of any number of classes, of values and of outputs, against scikit-learn and scipy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats
from sklearn import metrics

from mpc_router.tasks import (
    Task,
    TaskError,
    _evaluation,
    evaluate,
    mean_ranks,
    merit,
    score_of,
    task_of,
)
from mpc_router.tasks import confidence as confidences
from mpc_router.tasks import metrics as registry
from mpc_router.tasks._counts import Counts
from mpc_router.tasks.confidence import Confidence

Values = NDArray[np.float64]

CLASS_COUNTS = (2, 3, 7, 60, 1000)
OF_CLASSES = (
    *("accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "weighted_f1", "matthews"),
    "f1:c1",
)
REFERENCES: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "macro_f1": lambda t, p: metrics.f1_score(t, p, average="macro", zero_division=0),
    "micro_f1": lambda t, p: metrics.f1_score(t, p, average="micro", zero_division=0),
    "weighted_f1": lambda t, p: metrics.f1_score(t, p, average="weighted", zero_division=0),
    "matthews": metrics.matthews_corrcoef,
    "f1:c1": lambda t, p: metrics.f1_score(t, p, labels=[1], average=None, zero_division=0)[0],
}


def classification(classes: int, *names: str, score: str = "") -> Task:
    labels = [f"c{number}" for number in range(classes)]
    tree = {"name": "mine", "text": "t", "labels": labels, "metrics": list(names or OF_CLASSES)}
    return task_of(tree | ({"score": score} if score else {}))


def stack(classes: int, seed: int, lanes: int = 5, examples: int = 90) -> tuple[Values, Values]:
    """Skewed labels, so that some classes are absent, guessed only, or true only."""
    rng = np.random.default_rng(seed)
    likely = rng.dirichlet(np.full(classes, 0.3))
    labels = rng.choice(classes, examples, p=likely).astype(float)
    noise = rng.choice(classes, (lanes, examples), p=likely[::-1]).astype(float)
    predictions = np.where(rng.random((lanes, examples)) < 0.5, labels, noise)
    predictions[-1] = labels[0]
    return predictions, labels


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classes", CLASS_COUNTS)
@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_classes_are_scikit_learn_s(classes: int, seed: int) -> None:
    predictions, labels = stack(classes, seed)
    values = evaluate(classification(classes), predictions, labels)
    for name in OF_CLASSES:
        expected = [REFERENCES[name](labels, lane) for lane in predictions]
        np.testing.assert_allclose(values[name], expected, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize(
    ("labels", "guess"),
    [([1, 1, 1], [1, 1, 1]), ([0, 0, 0], [1, 1, 1]), ([0, 1, 2], [2, 2, 2]), ([2, 2], [0, 1])],
)
def test_empty_margins_are_as_scikit_learn_has_them(
    name: str, labels: list[int], guess: list[int]
) -> None:
    value = evaluate(classification(3, name), np.array([guess]), np.array(labels))[name]
    assert value == pytest.approx(REFERENCES[name](labels, guess), abs=1e-15)


def test_two_classes_keep_the_formulas_of_four_cells_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    labels, guess = rng.integers(0, 2, 301), rng.integers(0, 2, (40, 301))
    tp, fp = ((guess == 1) & (labels == 1)).sum(1), ((guess == 1) & (labels == 0)).sum(1)
    fn = ((guess == 0) & (labels == 1)).sum(1)
    tp, fp, fn = (cell.astype(np.float64) for cell in (tp, fp, fn))
    tn = 301.0 - tp - fp - fn
    spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    values = evaluate(classification(2, "accuracy", "f1", "matthews"), guess, labels)
    np.testing.assert_array_equal(values["accuracy"], np.mean(guess == labels, axis=1))
    np.testing.assert_array_equal(values["f1"], 2 * tp / (2 * tp + fp + fn))
    np.testing.assert_array_equal(values["matthews"], (tp * tn - fp * fn) / spread)


@pytest.mark.parametrize("cells", [1, 7, 100])
def test_blocks_of_lanes_change_nothing(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, labels = stack(7, 3)
    task = classification(7)
    expected = evaluate(task, predictions, labels)
    monkeypatch.setattr(_evaluation, "_CELLS", cells)
    for name, value in evaluate(task, predictions, labels).items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize("wrong", [3.0, -1.0, 0.5])
def test_a_prediction_that_is_no_class_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="of a task with 3 classes"):
        evaluate(classification(3, "macro_f1"), np.array([[0, wrong]]), np.array([0, 1]))


def logits_of(classes: int, lanes: int, examples: int, seed: int) -> Values:
    return np.asarray(4 * np.random.default_rng(seed).normal(size=(lanes, examples, classes)))


@pytest.mark.parametrize("classes", [2, 5, 100])
def test_log_loss_is_scikit_learn_s(classes: int) -> None:
    outputs = logits_of(classes, 3, 80, 0)
    outputs[0, 0] = 0
    outputs[0, 0, 0] = 300  # the label 1 has no probability left: both cut it at the same place
    labels = np.random.default_rng(1).integers(0, classes, 80)
    labels[0] = 1
    task = classification(classes, "accuracy", "log_loss", score="accuracy")
    sure = Confidence.of(outputs, labels)
    values = evaluate(task, outputs.argmax(-1), labels, confidence=sure)
    shares = special.softmax(outputs, axis=-1)
    expected = [metrics.log_loss(labels, lane, labels=range(classes)) for lane in shares]
    np.testing.assert_allclose(values["log_loss"], expected, rtol=1e-10)


def calibration_reference(shares: Values, labels: NDArray[Any]) -> float:
    top, right = shares.max(-1), shares.argmax(-1) == labels
    error = 0.0
    for number in range(15):
        last = number == 14
        inside = (top >= number / 15) & ((top < (number + 1) / 15) | last)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - top[inside].mean())
    return error


@pytest.mark.parametrize("classes", [2, 5, 100])
def test_the_calibration_error_is_a_mean_over_fifteen_bins(classes: int) -> None:
    outputs = logits_of(classes, 4, 200, 2)
    labels = np.random.default_rng(3).integers(0, classes, 200)
    task = classification(classes, "accuracy", "ece", score="accuracy")
    sure = Confidence.of(outputs, labels)
    values = evaluate(task, outputs.argmax(-1), labels, confidence=sure)
    shares = special.softmax(outputs, axis=-1)
    expected = [calibration_reference(lane, labels) for lane in shares]
    np.testing.assert_allclose(values["ece"], expected, rtol=0, atol=1e-12)


def test_the_confidence_of_routes_is_that_of_the_routed_outputs() -> None:
    outputs = logits_of(4, 3, 50, 5)
    rng = np.random.default_rng(6)
    labels, routes = rng.integers(0, 4, 50), rng.integers(0, 3, (2, 50))
    of_routes = Confidence.of(outputs, labels).routed(routes)
    routed = Confidence.of(outputs[routes, np.arange(50)], labels)
    np.testing.assert_array_equal(of_routes.surprise, routed.surprise)
    np.testing.assert_array_equal(of_routes.top, routed.top)


def test_blocks_of_outputs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, labels = logits_of(4, 3, 50, 5), np.arange(50) % 4
    expected = Confidence.of(outputs, labels)
    monkeypatch.setattr(confidences, "_CELLS", 30)
    np.testing.assert_array_equal(Confidence.of(outputs, labels).surprise, expected.surprise)


def test_outputs_without_a_value_are_refused() -> None:
    outputs = np.zeros((1, 2, 2))
    with pytest.raises(ValueError, match="of 2 classes"):
        Confidence.of(outputs, np.array([0, 2]))
    outputs[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        Confidence.of(outputs, np.array([0, 1]))


def test_a_metric_of_outputs_is_refused_without_them_and_never_part_of_the_score() -> None:
    task = classification(3, "accuracy", "log_loss", score="accuracy")
    predictions, labels = stack(3, 0)
    with pytest.raises(ValueError, match="log_loss needs outputs"):
        evaluate(task, predictions, labels)
    np.testing.assert_array_equal(
        score_of(task, predictions, labels), (predictions == labels).mean(axis=1)
    )
    with pytest.raises(TaskError, match="cannot be part of the score"):
        classification(3, "accuracy", "log_loss", score="log_loss")


REGRESSION = task_of(
    {
        "name": "mine",
        "text": "t",
        "kind": "regression",
        "metrics": ["pearson", "spearman", "mean_absolute_error"],
        "score": "mean_absolute_error",
    }
)


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 0), (20, 61), (2, 3, 5)])
@pytest.mark.parametrize("kinds", [2, 6, 1000])
def test_mean_ranks_are_scipys_to_the_bit(shape: tuple[int, ...], kinds: int) -> None:
    values = np.random.default_rng(kinds).integers(-kinds, kinds, shape) / 3.0
    expected = stats.rankdata(values, axis=-1)
    assert mean_ranks(values).shape == expected.shape
    assert mean_ranks(values).tobytes() == expected.tobytes()


def test_a_row_with_nan_has_no_ranks() -> None:
    ranks = mean_ranks(np.array([[2.0, np.nan, 1.0], [2.0, 2.0, 1.0]]))
    np.testing.assert_array_equal(ranks, [[np.nan] * 3, [2.5, 2.5, 1.0]])


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_values_are_scipy_s_and_scikit_learn_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, 70).astype(float)
    predictions = (labels + rng.normal(size=(6, 70))).round(0 if seed else 3)
    values = evaluate(REGRESSION, predictions, labels)
    assert values["score"] is not None
    for number, lane in enumerate(predictions):
        assert values["pearson"][number] == pytest.approx(stats.pearsonr(labels, lane).statistic)
        assert values["spearman"][number] == pytest.approx(stats.spearmanr(labels, lane).statistic)
        error = metrics.mean_absolute_error(labels, lane)
        assert values["mean_absolute_error"][number] == pytest.approx(error)
    np.testing.assert_array_equal(values["score"], values["mean_absolute_error"])


def test_what_never_varies_correlates_with_nothing() -> None:
    labels = np.arange(7.0)
    constant = evaluate(REGRESSION, np.full((1, 7), 0.1), labels)
    assert constant["pearson"] == constant["spearman"] == 0
    assert evaluate(REGRESSION, labels[None], np.full(7, 0.1))["pearson"] == 0


def test_merit_turns_a_low_score_up_and_back() -> None:
    assert REGRESSION.direction == "min"
    assert merit(REGRESSION, 2.5) == -2.5
    assert merit(REGRESSION, merit(REGRESSION, 2.5)) == 2.5
    assert str(merit(REGRESSION, 0.0)) == "0.0"
    assert merit(classification(3), 0.7) == 0.7


@pytest.mark.parametrize("classes", [2, 4])
def test_every_value_lies_in_its_metric_s_range(classes: int) -> None:
    task = classification(classes)
    rng = np.random.default_rng(0)
    confusion = rng.exponential(size=(500, classes, classes))
    confusion *= rng.random((500, classes, classes)) < 0.4
    confusion[:, 0, 0] += 1e-3
    hits = np.diagonal(confusion, axis1=1, axis2=2).copy()
    counts = Counts.of_margins(hits, confusion.sum(1), confusion.sum(2))
    for name in OF_CLASSES:
        metric = task.metric(name)
        assert metric.of_counts is not None
        values = metric.of_counts(counts)
        low, high = metric.range
        assert ((values >= low - 1e-12) & (values <= high + 1e-12)).all(), name


@pytest.mark.parametrize(
    ("classes", "name", "words"),
    [
        (3, "f1", "second of two labels, and the task has 3"),
        (3, "f1:c7", "names no label of the task"),
        (3, "pearson", "none of a classification; allowed are accuracy, balanced_accuracy"),
        (2, "macrof1", "allowed are"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(
    classes: int, name: str, words: str
) -> None:
    with pytest.raises(TaskError, match=words) as error:
        classification(classes, name)
    assert len(str(error.value)) < 1000


def test_a_label_may_hold_a_colon() -> None:
    task = task_of({"name": "m", "text": "t", "labels": ["a", "b:c", "d"], "metrics": ["f1:b:c"]})
    value = evaluate(task, np.array([[1, 1, 0]]), np.array([1, 0, 0]))["f1:b:c"]
    assert value == pytest.approx(2 / 3)


def test_the_page_of_metrics_names_all_with_their_direction_and_range() -> None:
    page = Path(__file__).resolve().parents[2] / "docs/guides/metrics.md"
    rows = re.findall(r"^\| `([\w:]+)` \|.*\| (high|low) \| (.*) \|$", page.read_text(), re.M)
    shown = {name.replace("LABEL", "c1"): (better, room) for name, better, room in rows}
    names = {*registry._METRICS, "f1:c1"}
    assert set(shown) == names
    for name in names:
        values = name in ("pearson", "spearman", "mean_absolute_error")
        metric = registry.metric_of(name, regression=values, label_names=("c0", "c1"))
        low, high = metric.range
        room = f"{low:g} and up" if np.isinf(high) else f"{low:g} to {high:g}"
        assert shown[name] == ("low" if metric.low_is_better else "high", room)
