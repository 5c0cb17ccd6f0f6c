"""Names the metrics, and says of each what it is of, which way it is better, and its range.

Letters: L lanes, N examples, B weightings, K classes. A metric of a classification is a function of
`Counts` or of `Confidence`, one of a regression of values.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.messages import quoted
from mpc_router.tasks import _counts, _values, confidence

_Values = NDArray[np.float64]

MEAN: Final = "mean"
"""The score that is the mean of all metrics."""

OF_CLASS: Final = "f1:"
"""Begins the name of the F1 of one class; the label's word follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Holds one metric: what it is of, and which way it is better.

    It has `of_counts`, `of_confidence`, or `of_values` with `of_weighted_values`.
    """

    name: str
    low_is_better: bool = False
    range: tuple[float, float] = (0.0, 1.0)
    """The least and the greatest that it can be."""

    of_counts: Callable[[_counts.Counts], _Values] | None = None
    """Counts (..., K) to values (...)."""

    totals: bool = False
    """Whether `of_counts` needs no more than `Counts.of_totals`."""

    of_confidence: Callable[[confidence.Confidence, NDArray[np.bool_]], _Values] | None = None
    """Confidence and what is right, (L, N), to values (L,)."""

    of_values: Callable[[_Values, _Values], _Values] | None = None
    """Predictions (L, N) and labels (N,) to values (L,)."""

    of_weighted_values: Callable[[_Values, _Values, _Values], _Values] | None = None
    """Predictions (L, N), labels (N,) and weights (B, N) to values (L, B)."""

    @property
    def regression(self) -> bool:
        """Says whether it is of values, not of classes."""
        return self.of_values is not None

    @property
    def of_outputs(self) -> bool:
        """Says whether it is computed of outputs, not of predictions."""
        return self.of_confidence is not None


_METRICS: Final = {
    metric.name: metric
    for metric in (
        Metric(name="accuracy", of_counts=_counts.accuracy, totals=True),
        Metric(name="balanced_accuracy", of_counts=_counts.balanced_accuracy),
        Metric(name="macro_f1", of_counts=_counts.macro_f1),
        Metric(name="micro_f1", of_counts=_counts.micro_f1, totals=True),
        Metric(name="weighted_f1", of_counts=_counts.weighted_f1),
        Metric(name="f1", of_counts=functools.partial(_counts.f1_of_class, number=1)),
        Metric(name="matthews", of_counts=_counts.matthews, range=(-1.0, 1.0)),
        Metric(
            name="log_loss",
            of_confidence=confidence.log_loss,
            low_is_better=True,
            range=(0.0, math.inf),
        ),
        Metric(name="ece", of_confidence=confidence.ece, low_is_better=True),
        Metric(
            name="pearson",
            of_values=_values.pearson,
            of_weighted_values=_values.weighted_pearson,
            range=(-1.0, 1.0),
        ),
        Metric(
            name="spearman",
            of_values=_values.spearman,
            of_weighted_values=_values.weighted_spearman,
            range=(-1.0, 1.0),
        ),
        Metric(
            name="mean_absolute_error",
            of_values=_values.mean_absolute_error,
            of_weighted_values=_values.weighted_absolute_error,
            low_is_better=True,
            range=(0.0, math.inf),
        ),
    )
}


def is_of_table(name: str) -> bool:
    """Tells whether a metric of this name ships with this program."""
    return name in _METRICS or name.startswith(OF_CLASS)


def metric_of(name: str, *, regression: bool, label_names: Sequence[str]) -> Metric:
    """Gives the metric of this name for a task of this kind, with these labels.

    Raises:
        ValueError: there is none of this name, or it does not fit the task.
    """
    if name.startswith(OF_CLASS) and not regression:
        return _f1_of(name, label_names)
    if name == "f1" and not regression and len(label_names) != 2:
        raise ValueError(
            f"metric 'f1' is of the second of two labels, and the task has {len(label_names)}; "
            f"allowed are macro_f1, micro_f1, weighted_f1 and {OF_CLASS}LABEL of one label"
        )
    metric = _METRICS.get(name)
    if metric is None or metric.regression != regression:
        fitting = [name for name, known in _METRICS.items() if known.regression == regression]
        fitting += [] if regression else [f"{OF_CLASS}LABEL"]
        kind = "a regression" if regression else "a classification"
        raise ValueError(
            f"metric {quoted(name)} is none of {kind}; allowed are {', '.join(fitting)}"
        )
    return metric


def _f1_of(name: str, label_names: Sequence[str]) -> Metric:
    """Gives the F1 of the class that the name ends in."""
    label = name.removeprefix(OF_CLASS)
    if label not in label_names:
        labels: Any = list(label_names)
        raise ValueError(
            f"metric {quoted(name)} names no label of the task; after {OF_CLASS!r} write one of "
            f"{quoted(labels)}"
        )
    number = list(label_names).index(label)
    return Metric(name=name, of_counts=functools.partial(_counts.f1_of_class, number=number))
