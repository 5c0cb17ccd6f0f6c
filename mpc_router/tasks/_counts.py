"""Counts classes guessed and true, and computes the metrics that these counts decide.

Letters: L lanes, N examples, K classes; dots stand for any axes (lanes, weightings).

The classes that a metric averages over are those that occur, as scikit-learn has it. That is judged
anew for each lane and each weighting, so a class that no resampled example has drops out there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_NO_SPREAD: Final = 1e-12
"""Of a squared total: a margin that spreads less is one class, and the rest is rounding."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Holds how often each class was right, guessed wrongly and missed; fractions are allowed."""

    hits: Values
    """(..., K): guessed, and true."""

    wrong: Values
    """(..., K): guessed, and not true."""

    missed: Values
    """(..., K): true, and not guessed."""

    @property
    def true(self) -> Values:
        """Gives how often each class is the label, (..., K)."""
        return self.hits + self.missed

    @property
    def guessed(self) -> Values:
        """Gives how often each class was predicted, (..., K)."""
        return self.hits + self.wrong

    @classmethod
    def of_margins(cls, hits: Values, guessed: Values, true: Values) -> Counts:
        """Makes counts from margins: right, predicted and true, each (..., K)."""
        return cls(hits, guessed - hits, true - hits)

    @classmethod
    def of_two(cls, tp: Values, fp: Values, fn: Values, tn: Values) -> Counts:
        """Makes counts of two classes from the four cells of class 1, each (...)."""
        pairs = ((tn, tp), (fn, fp), (fp, fn))
        return cls(*(np.stack(pair, axis=-1) for pair in pairs))

    @classmethod
    def of_totals(cls, right: Values, wrong: Values) -> Counts:
        """Makes counts over all classes together, for metrics that need no more."""
        return cls(right[..., None], wrong[..., None], wrong[..., None])

    @classmethod
    def of(cls, predictions: NDArray[Any], labels: NDArray[Any], classes: int) -> Counts:
        """Counts a stack of predictions (L, N) with labels (N,): (L, K).

        Raises:
            ValueError: a prediction or a label is none of the classes 0..K-1.
        """
        if classes == 2:
            guessed, true = predictions == 1, labels == 1
            tp = np.asarray((guessed & true).sum(axis=-1), np.float64)
            fp, fn = guessed.sum(axis=-1) - tp, true.sum(axis=-1) - tp
            return cls.of_two(tp, fp, fn, labels.shape[-1] - tp - fp - fn)
        numbers, truth = class_numbers(predictions, classes), class_numbers(labels, classes)
        lanes = len(numbers)
        places = numbers + classes * np.arange(lanes)[:, None]

        def by_lane(chosen: NDArray[np.intp]) -> Values:
            count = np.bincount(chosen.ravel(), minlength=lanes * classes)
            return count.reshape(lanes, classes).astype(np.float64)

        true_counts = np.bincount(truth, minlength=classes).astype(np.float64)
        return cls.of_margins(by_lane(places[numbers == truth]), by_lane(places), true_counts)


def class_numbers(values: NDArray[Any], classes: int) -> NDArray[np.intp]:
    """Gives predictions or labels as whole numbers.

    Raises:
        ValueError: one is none of the classes 0..K-1.
    """
    numbers = np.asarray(values).astype(np.intp)
    strange = (numbers != values) | (numbers < 0) | (numbers >= classes)
    if strange.any():
        first = np.asarray(values)[strange][0]
        raise ValueError(f"found class {first:g} of a task with {classes} classes, 0 to K - 1")
    return numbers


def accuracy(counts: Counts) -> Values:
    """Gives the share of right predictions, (...)."""
    if counts.hits.shape[-1] == 2:
        tp, fp, fn, tn = _cells(counts)
        return np.asarray((tp + tn) / (tp + fp + fn + tn))
    right = counts.hits.sum(axis=-1)
    return np.asarray(right / (right + counts.missed.sum(axis=-1)))


def balanced_accuracy(counts: Counts) -> Values:
    """Gives the mean over classes of the share of their examples that are right, (...).

    A class without examples is left out; its wrong guesses count where they were true.
    """
    occurs = counts.true > 0
    return np.asarray(_ratio(counts.hits, counts.true).sum(axis=-1) / occurs.sum(axis=-1))


def f1_by_class(counts: Counts) -> Values:
    """Gives 2 tp / (2 tp + fp + fn) of each class, (..., K); 0 where it never occurs."""
    twice = 2 * counts.hits
    return _ratio(twice, twice + counts.wrong + counts.missed)


def macro_f1(counts: Counts) -> Values:
    """Gives the mean F1 of the classes that are guessed or true, (...)."""
    occurs = counts.true + counts.wrong > 0
    return np.asarray(f1_by_class(counts).sum(axis=-1) / occurs.sum(axis=-1))


def micro_f1(counts: Counts) -> Values:
    """Gives F1 of the counts summed over classes, (...): with one label an example, accuracy."""
    twice = 2 * counts.hits.sum(axis=-1)
    return _ratio(twice, twice + counts.wrong.sum(axis=-1) + counts.missed.sum(axis=-1))


def weighted_f1(counts: Counts) -> Values:
    """Gives the mean F1 of classes, weighted by how often each is true, (...)."""
    true = counts.true
    return np.asarray((f1_by_class(counts) * true).sum(axis=-1) / true.sum(axis=-1))


def f1_of_class(counts: Counts, number: int) -> Values:
    """Gives F1 of one class, (...); 0 where it is neither guessed nor true."""
    one = slice(number, number + 1)
    return f1_by_class(
        Counts(counts.hits[..., one], counts.wrong[..., one], counts.missed[..., one])
    )[..., 0]


def matthews(counts: Counts) -> Values:
    """Gives the Matthews correlation, -1 to 1, (...); 0 where one class is all that occurs.

    (h s - sum_k g_k t_k) / sqrt((s^2 - sum_k g_k^2) (s^2 - sum_k t_k^2)) with h right, s in all and
    margins g guessed and t true (Gorodkin 2004). For two classes this is the usual formula of four
    cells, which is used there. It is 0 where guesses, or labels, are all of one class.
    """
    if counts.hits.shape[-1] == 2:
        tp, fp, fn, tn = _cells(counts)
        spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return _ratio(tp * tn - fp * fn, spread)
    guessed, true = counts.guessed, counts.true
    total = true.sum(axis=-1)
    squared = total * total
    spread_guessed = squared - (guessed * guessed).sum(axis=-1)
    spread_true = squared - (true * true).sum(axis=-1)
    varies = (spread_guessed > _NO_SPREAD * squared) & (spread_true > _NO_SPREAD * squared)
    together = counts.hits.sum(axis=-1) * total - (guessed * true).sum(axis=-1)
    below = np.sqrt(np.where(varies, spread_guessed * spread_true, 1.0))
    return np.where(varies, together / below, 0.0)


def _cells(counts: Counts) -> tuple[Values, Values, Values, Values]:
    """Gives (tp, fp, fn, tn) of class 1 of two, each (...)."""
    return (
        counts.hits[..., 1],
        counts.wrong[..., 1],
        counts.missed[..., 1],
        counts.hits[..., 0],
    )


def _ratio(above: Values, below: Values) -> Values:
    """Divides; 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)
