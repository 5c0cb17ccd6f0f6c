"""Computes the metrics of a regression over stacks of predictions, plain or weighted.

Letters: L lanes, N examples, B weightings, M values of one row. A weighting counts an example as
often as its weight says, fractions allowed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_SMALLEST_SPREAD: Final = 1e-12
"""Of a weighting's sum of squares: less is rounding, so the row does not vary."""


def pearson(predictions: Values, labels: Values) -> Values:
    """Gives the Pearson correlation, (L, N), (N,) -> (L,).

    It is 0 for predictions or labels that never vary; scipy gives NaN there.
    """
    x = predictions - predictions.mean(axis=-1, keepdims=True)
    y = labels - labels.mean(axis=-1, keepdims=True)
    spread = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    varies = (spread != 0) & (np.ptp(predictions, axis=-1) > 0) & (np.ptp(labels) > 0)
    above = (x * y).sum(axis=-1)
    correlation: Values = np.divide(above, spread, out=np.zeros_like(above), where=varies)
    return correlation


def spearman(predictions: Values, labels: Values) -> Values:
    """Gives the Spearman correlation, (L,): Pearson of the ranks, ties at their mean rank."""
    return pearson(mean_ranks(predictions), mean_ranks(labels))


def mean_ranks(values: Values) -> Values:
    """Ranks rows (..., N) from 1, ties at their mean rank; a row with NaN has no ranks but NaN.

    The ranks are those of `scipy.stats.rankdata`, to import which takes half a second.
    """
    if not values.size:
        return np.empty(values.shape)
    order = np.argsort(values, axis=-1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=-1)
    first = np.ones(values.shape, np.bool_)  # of its ties
    first[..., 1:] = ranked[..., 1:] != ranked[..., :-1]
    starts = np.flatnonzero(first)
    counts = np.diff(starts, append=values.size)
    middle = 1 + starts % values.shape[-1] + (counts - 1) / 2
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, np.repeat(middle, counts).reshape(values.shape), axis=-1)
    ranks[np.isnan(values).any(axis=-1)] = np.nan
    return ranks


def mean_absolute_error(predictions: Values, labels: Values) -> Values:
    """Gives the mean of |prediction - label|, (L, N), (N,) -> (L,)."""
    return np.asarray(np.abs(predictions - labels).mean(axis=-1), np.float64)


def weighted_pearson(predictions: Values, labels: Values, weights: Values) -> Values:
    """Gives the Pearson correlation of each weighting: (L, M), (M,), (B, M) -> (L, B)."""
    rows = [_correlation(row[None], labels[None], weights) for row in predictions]
    return np.asarray(rows, np.float64).reshape(len(predictions), len(weights))


def weighted_spearman(predictions: Values, labels: Values, weights: Values) -> Values:
    """Gives the Spearman correlation of each weighting: (L, M), (M,), (B, M) -> (L, B).

    Every weighting is ranked anew.
    """
    label_ranks = weighted_ranks(labels, weights)
    rows = [_correlation(weighted_ranks(row, weights), label_ranks, weights) for row in predictions]
    return np.asarray(rows, np.float64).reshape(len(predictions), len(weights))


def weighted_absolute_error(predictions: Values, labels: Values, weights: Values) -> Values:
    """Gives the mean absolute error of each weighting: (L, M), (M,), (B, M) -> (L, B)."""
    return np.asarray(np.abs(predictions - labels) @ weights.T / weights.sum(axis=1))


def weighted_ranks(values: Values, weights: Values) -> Values:
    """Ranks `values` (M,) as each weighting counts them: mean ranks less a constant, (B, M)."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(ranked))))
    sums = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(sums, axis=1) - sums / 2
    place = np.empty_like(order)
    place[order] = group
    return np.asarray(middle[:, place])


def _correlation(x: Values, y: Values, weights: Values) -> Values:
    """Correlates x and y that are (1, M) or (B, M): (B,); 0 where one of them does not vary."""
    total = weights.sum(axis=1)
    x = x - x.mean(axis=1, keepdims=True)  # near the weighted mean: nothing cancels below
    y = y - y.mean(axis=1, keepdims=True)
    weighted_x, weighted_y = weights * x, weights * y
    sum_x, sum_y = weighted_x.sum(axis=1), weighted_y.sum(axis=1)
    square_x, square_y = _dot(weighted_x, x), _dot(weighted_y, y)
    spread_x = square_x - sum_x * sum_x / total
    spread_y = square_y - sum_y * sum_y / total
    varies = (spread_x > _SMALLEST_SPREAD * square_x) & (spread_y > _SMALLEST_SPREAD * square_y)
    above = _dot(weighted_x, y) - sum_x * sum_y / total
    below = np.sqrt(np.where(varies, spread_x * spread_y, 1.0))
    return np.where(varies, above / below, 0.0)


def _dot(a: Values, b: Values) -> Values:
    """Multiplies row by row: (B, M), (B, M) or (1, M) -> (B,)."""
    return np.asarray(np.einsum("bm,bm->b", a, np.broadcast_to(b, a.shape)))
