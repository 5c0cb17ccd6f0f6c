"""The eight tasks of GLUE: columns, labels, and their metrics over stacks of predictions.

Letters: L lanes, N examples. Predictions are class numbers, or values for a regression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task in the hub's GLUE schema (`nyu-mll/glue`)."""

    name: str
    columns: tuple[str, ...]
    """Text columns: one sentence, or the two of a pair."""

    label_names: tuple[str, ...]
    """Label words in the order of their numbers; empty for a regression."""

    metrics: tuple[str, ...]
    """The task's own metrics; the score is their mean."""

    quoted: tuple[str, ...] = ("validation",)
    """Splits that are quoted and never looked at before; the first one always exists."""

    label_range: tuple[float, float] = (0.0, 0.0)
    """Least and greatest label of a regression."""

    @property
    def regression(self) -> bool:
        """Whether labels are values, not classes."""
        return not self.label_names

    @property
    def outputs(self) -> int:
        """Width of an expert's output: the number of classes, or 1."""
        return len(self.label_names) or 1


TASKS: Final = {
    task.name: task
    for task in (
        Task(
            name="cola",
            columns=("sentence",),
            label_names=("unacceptable", "acceptable"),
            metrics=("matthews",),
        ),
        Task(
            name="sst2",
            columns=("sentence",),
            label_names=("negative", "positive"),
            metrics=("accuracy",),
        ),
        Task(
            name="mrpc",
            columns=("sentence1", "sentence2"),
            label_names=("not_equivalent", "equivalent"),
            metrics=("accuracy", "f1"),
        ),
        Task(
            name="stsb",
            columns=("sentence1", "sentence2"),
            label_names=(),
            metrics=("pearson", "spearman"),
            label_range=(0.0, 5.0),
        ),
        Task(
            name="qqp",
            columns=("question1", "question2"),
            label_names=("not_duplicate", "duplicate"),
            metrics=("accuracy", "f1"),
        ),
        Task(
            name="mnli",
            columns=("premise", "hypothesis"),
            label_names=("entailment", "neutral", "contradiction"),
            metrics=("accuracy",),
            quoted=("validation", "validation_mismatched"),
        ),
        Task(
            name="qnli",
            columns=("question", "sentence"),
            label_names=("entailment", "not_entailment"),
            metrics=("accuracy",),
        ),
        Task(
            name="rte",
            columns=("sentence1", "sentence2"),
            label_names=("entailment", "not_entailment"),
            metrics=("accuracy",),
        ),
    )
}


def accuracy(predictions: Values, labels: Values) -> Values:
    """Share of right predictions, (L,)."""
    return np.asarray(np.mean(predictions == labels, axis=-1), np.float64)


def _confusion(predictions: Values, labels: Values) -> tuple[Values, Values, Values, Values]:
    """Counts (tp, fp, fn, tn) of class 1 against class 0, each (L,)."""
    guessed, true = predictions == 1, labels == 1
    cells = (guessed & true, guessed & ~true, ~guessed & true, ~guessed & ~true)
    tp, fp, fn, tn = (np.asarray(cell.sum(axis=-1), np.float64) for cell in cells)
    return tp, fp, fn, tn


def _accuracy_of_counts(tp: Values, fp: Values, fn: Values, tn: Values) -> Values:
    """Accuracy from confusion counts, which may be fractions (a mix of experts)."""
    return (tp + tn) / (tp + fp + fn + tn)


def _f1_of_counts(tp: Values, fp: Values, fn: Values, tn: Values) -> Values:
    """F1 of class 1: 2 tp / (2 tp + fp + fn); 0 where nobody said or was class 1."""
    return _ratio(2 * tp, 2 * tp + fp + fn)


def _matthews_of_counts(tp: Values, fp: Values, fn: Values, tn: Values) -> Values:
    """Matthews correlation of two classes; 0 where a margin is empty, as scikit-learn has it."""
    spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return _ratio(tp * tn - fp * fn, spread)


def f1(predictions: Values, labels: Values) -> Values:
    """F1 of class 1, (L,)."""
    return _f1_of_counts(*_confusion(predictions, labels))


def matthews(predictions: Values, labels: Values) -> Values:
    """Matthews correlation, (L,)."""
    return _matthews_of_counts(*_confusion(predictions, labels))


def pearson(predictions: Values, labels: Values) -> Values:
    """Pearson correlation, (L,); 0 for predictions that never vary (a correlation has no value)."""
    x = predictions - predictions.mean(axis=-1, keepdims=True)
    y = labels - labels.mean(axis=-1, keepdims=True)
    spread = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return _ratio((x * y).sum(axis=-1), spread)


def spearman(predictions: Values, labels: Values) -> Values:
    """Spearman correlation, (L,): Pearson of the ranks, ties at their mean rank."""
    from scipy.stats import rankdata  # half a second to import: only where it is needed

    return pearson(rankdata(predictions, axis=-1), rankdata(labels, axis=-1))


def _ratio(above: Values, below: Values) -> Values:
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


_METRICS: Final[dict[str, Callable[[Values, Values], Values]]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}

OF_COUNTS: Final[dict[str, Callable[[Values, Values, Values, Values], Values]]] = {
    "accuracy": _accuracy_of_counts,
    "f1": _f1_of_counts,
    "matthews": _matthews_of_counts,
}
"""Metrics of two classes from confusion counts (tp, fp, fn, tn), fractions allowed."""


def evaluate(
    task: Task, predictions: NDArray[Any], labels: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """Score and metrics of a stack of predictions: "score" first, then each of `task.metrics`.

    `predictions` is (L, N), `labels` (N,); every value is (L,) float64.

    Raises:
        ValueError: the shapes do not fit, there is no example, or a prediction is not finite.
    """
    stack = np.asarray(predictions, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.float64)
    if stack.ndim != 2 or truth.shape != stack.shape[1:]:
        raise ValueError(f"predictions {stack.shape} and labels {truth.shape}: need (L, N), (N,)")
    if truth.size == 0:
        raise ValueError(f"{task.name}: no example to score")
    if not np.isfinite(stack).all():
        raise ValueError(f"{task.name}: a prediction is NaN or infinite")
    values = {name: np.asarray(_METRICS[name](stack, truth)) for name in task.metrics}
    return {"score": np.mean([values[name] for name in task.metrics], axis=0), **values}
