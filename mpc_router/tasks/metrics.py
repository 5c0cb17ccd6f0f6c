"""Metrics over stacks of predictions: each a function of (L, N) predictions and (N,) labels.

Letters: L lanes, N examples. Predictions are class numbers, or values for a regression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.messages import quoted

Values = NDArray[np.float64]

MEAN: Final = "mean"
"""The score that is the mean of all metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Holds one metric: what it is of, and which way it is better."""

    name: str
    regression: bool
    """Whether it is of values, not of classes."""

    function: Callable[[Values, Values], Values]
    """Predictions (L, N) and labels (N,) to values (L,)."""

    low_is_better: bool = False
    of_outputs: bool = False
    """Whether it is computed of outputs (L, N, C), not of predictions."""


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


_METRICS: Final = {
    metric.name: metric
    for metric in (
        Metric(name="accuracy", regression=False, function=accuracy),
        Metric(name="f1", regression=False, function=f1),
        Metric(name="matthews", regression=False, function=matthews),
        Metric(name="pearson", regression=True, function=pearson),
        Metric(name="spearman", regression=True, function=spearman),
    )
}


def metric_of(name: str, *, regression: bool, label_names: Sequence[str]) -> Metric:
    """Gives the metric of this name for a task of this kind, with these labels.

    Raises:
        ValueError: there is none of this name, or it does not fit the task.
    """
    metric = _METRICS.get(name)
    if metric is None or metric.regression != regression:
        fitting = [name for name, known in _METRICS.items() if known.regression == regression]
        kind = "a regression" if regression else "a classification"
        raise ValueError(
            f"metric {quoted(name)} is none of {kind}; allowed are {', '.join(fitting)}"
        )
    return metric


OF_COUNTS: Final[dict[str, Callable[[Values, Values, Values, Values], Values]]] = {
    "accuracy": _accuracy_of_counts,
    "f1": _f1_of_counts,
    "matthews": _matthews_of_counts,
}
"""Metrics of two classes from confusion counts (tp, fp, fn, tn), fractions allowed."""
