"""Scores predictions under example weights: the bootstrap and the mix of experts use this.

Letters: R rows of predictions, N examples, B weightings, S seeds. Row 0 of the weights made here is
always the sample as it is; the others are resamples. A weighting counts an example as often as its
weight says, fractions allowed, so the score of a weighting is the score of that resampled split.

Seeds and examples are crossed: every seed sees every example. Resampling both at once counts the
chance that belongs to neither alone, such as whom a router asks when it draws lots, up to three
times (McCullagh 2000, "Resampling and exchangeable arrays"; Owen 2007, "The pigeonhole bootstrap"),
and a bootstrap of S seeds sees (S - 1) / S of their variance. The remedy here is `over_seeds`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.tasks import OF_COUNTS, Task

Values = NDArray[np.float64]
Weights = NDArray[np.float32]
_Counts = tuple[Values, Values, Values, Values]

_RESAMPLES: Final = 1000
_RANKED_RESAMPLES: Final = 200
"""For regressions: every resample is ranked anew, which costs a hundred times more."""

_LEVEL: Final = 0.95
_SMALLEST_SPREAD: Final = 1e-12
"""Of a weighting's sum of squares: less is rounding, so the row does not vary."""

_ROUNDING: Final = 1e-24
"""Of values squared: a variance of less is no variance."""

_CHUNK: Final = 128
_FROM_NOUGHT: Final = {"accuracy", "f1"}


def resamples_for(task: Task) -> int:
    """Gives how many resamples intervals of this task are made of, unless told."""
    return _RANKED_RESAMPLES if task.regression else _RESAMPLES


def example_weights(examples: int, resamples: int, rng: np.random.Generator) -> Weights:
    """Gives weights (1 + resamples, N): ones, then how often each example was drawn.

    Examples are drawn with replacement.

    float32: it counts exactly up to 16 million, and halves the memory of a large split.
    """
    weights = np.ones((1 + resamples, examples), np.float32)
    even = np.full(examples, 1 / examples)
    for first in range(1, 1 + resamples, _CHUNK):
        rows = weights[first : first + _CHUNK]
        rows[:] = rng.multinomial(examples, even, size=len(rows))
    return weights


def seed_leans(seeds: int, resamples: int, rng: np.random.Generator) -> Values:
    """Gives how far each draw leans towards each seed, (1 + resamples, S).

    Rows sum to 0 and the first is 0.

    A lean times values by seed has Student's t distribution with S - 1 degrees of freedom, scaled
    by the standard error of their mean: what S seeds tell of the mean over all (exact where seeds
    are normal). One seed says nothing of others: its leans are 0.
    """
    leans = np.zeros((1 + resamples, seeds))
    if seeds > 1:
        drawn = rng.normal(size=(resamples, seeds))
        drawn -= drawn.mean(axis=1, keepdims=True)
        variance = rng.chisquare(seeds - 1, size=(resamples, 1)) / (seeds - 1)
        leans[1:] = drawn / np.sqrt(seeds * (seeds - 1) * variance)
    return leans


def over_seeds(lanes: Values, leans: Values, centre: Values | None = None) -> Values:
    """Draws the mean over all seeds and examples: by seed (S, B), leans (B, S) -> (B,).

    Draw b is the mean over the seeds there are under resampled examples and, where seeds differ by
    more than the chance in their examples (`seed_excess` above 1), sum_s lean_bs lane_s0 more. The
    variances of both add up; Cameron, Gelbach & Miller (2011, "Robust inference with multiway
    clustering") subtract what belongs to both, which with three seeds falls short (87 % where 91 %
    are reached). That the rule depends on which variance is seen is Menzel's idea (2021, "Bootstrap
    with cluster-dependence in two or more dimensions"). `centre` (B,): a function of means, instead
    of the mean of the lanes.
    """
    mean = lanes.mean(axis=0) if centre is None else centre
    differ = seed_excess(lanes) > 1
    return np.asarray(mean + leans @ lanes[:, 0]) if differ else mean


def seed_excess(lanes: Values) -> float:
    """Gives V / C of values by seed (S, B): how much more seeds differ than examples explain.

    V is the variance between the seeds' values, C the one that resampled examples alone put
    between them: the mean over b of the variance over s of lane_sb - lane_s0. About 1 where seeds
    are alike, infinite without resamples of examples (or where seeds send all alike), 0 where all
    values are equal, NaN of one seed.
    """
    if len(lanes) < 2:
        return math.nan
    between = float(lanes[:, 0].var(ddof=1))
    apart = lanes[:, 1:] - lanes[:, :1]
    chance = float(apart.var(axis=0, ddof=1).mean()) if apart.size else 0.0
    if between <= _ROUNDING * float(np.square(lanes[:, 0]).max()):
        return 0.0
    return between / chance if chance > 0 else math.inf


def bounded(task: Task, scores: Values) -> Values:
    """Cuts draws of a score to what the task's metrics can be.

    The range is up to 1, from 0 or, where a metric may be negative, from -1. Draws of
    seeds that differ much would leave it.
    """
    lowest = 0.0 if set(task.metrics) <= _FROM_NOUGHT else -1.0
    return np.clip(scores, lowest, 1.0)


def weighted_shares(routes: NDArray[np.uint8], experts: int, weights: Weights) -> Values:
    """Gives the share of examples routed to each expert by weighting: (L, N) -> (L, B, K)."""
    total = weights.sum(axis=1, dtype=np.float64)
    counts = [_sums(routes == expert, weights) / total for expert in range(experts)]
    return np.stack(counts, axis=-1)


def interval(values: Values, level: float = _LEVEL) -> tuple[Values, Values]:
    """Gives the percentile interval over the last axis, whose first entry is the estimate.

    The estimate is no resample.

    NaN where there is no resample.
    """
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan), np.full(values.shape[:-1], np.nan)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values[..., 1:], [tail, 100 - tail], axis=-1)
    return np.asarray(low), np.asarray(high)


def weighted_scores(task: Task, predictions: Values, labels: Values, weights: Weights) -> Values:
    """Scores each row of predictions under each weighting: (R, N), (N,), (B, N) -> (R, B)."""
    if not task.regression:
        return _score_of_counts(task, _counts(task, predictions, labels, weights))
    wide = weights.astype(np.float64)
    return _correlation_scores(task, predictions, labels, wide)


def mixed_scores(
    task: Task,
    pair: tuple[Values, Values],
    portions: Values,
    *,
    labels: Values,
    weights: Weights,
) -> Values:
    """Scores a coin that takes the first row of `pair` with 1 - portion, else the second: (J, B).

    A coin's outcome for many examples is the split in which each example stands twice, once
    with each prediction, weighted by the coin: for accuracy a line between the two scores, for F1
    and Matthews the score of mixed confusion counts, for correlations that of mixed moments and
    ranks, which is what simulated coins tend to.
    """
    if not task.regression:
        first, second = (_counts(task, row[None], labels, weights) for row in pair)
        share = portions[:, None]
        mixed = [(1 - share) * a + share * b for a, b in zip(first, second, strict=True)]
        return _score_of_counts(task, (mixed[0], mixed[1], mixed[2], mixed[3]))
    both, twice = np.concatenate(pair)[None], np.concatenate([labels, labels])
    wide = weights.astype(np.float64)
    rows = [
        _correlation_scores(task, both, twice, np.hstack([(1 - p) * wide, p * wide]))[0]
        for p in portions
    ]
    return np.asarray(rows).reshape(len(portions), len(weights))


def _sums(cells: NDArray[np.bool_], weights: Weights) -> Values:
    """Sums the weight of the true cells: (R, N), (B, N) -> (R, B), exact for whole weights."""
    return (cells.astype(np.float32) @ weights.T).astype(np.float64)


def _counts(task: Task, predictions: Values, labels: Values, weights: Weights) -> _Counts:
    """Counts confusions (tp, fp, fn, tn), each (R, B); of many classes (right, wrong, 0, 0)."""
    total = weights.sum(axis=1, dtype=np.float64)
    if task.outputs != 2:
        right = _sums(predictions == labels, weights)
        nothing = np.zeros_like(right)
        return right, total - right, nothing, nothing
    guessed, true = predictions == 1, np.broadcast_to(labels == 1, predictions.shape)
    tp = _sums(guessed & true, weights)
    fp = _sums(guessed & ~true, weights)
    fn = _sums(~guessed & true, weights)
    return tp, fp, fn, total - tp - fp - fn


def _score_of_counts(task: Task, counts: _Counts) -> Values:
    return np.asarray(np.mean([OF_COUNTS[name](*counts) for name in task.metrics], axis=0))


def _correlation_scores(task: Task, rows: Values, labels: Values, weights: Values) -> Values:
    """Gives a regression's mean correlation by weighting: (R, M), (M,), (B, M) -> (R, B)."""
    ranked = "spearman" in task.metrics
    label_ranks = _weighted_ranks(labels, weights) if ranked else labels[None]
    scores = np.zeros((len(rows), len(weights)))
    for number, row in enumerate(rows):
        if "pearson" in task.metrics:
            scores[number] += _weighted_pearson(row[None], labels[None], weights)
        if ranked:
            scores[number] += _weighted_pearson(_weighted_ranks(row, weights), label_ranks, weights)
    return scores / len(task.metrics)


def _weighted_pearson(x: Values, y: Values, weights: Values) -> Values:
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


def _weighted_ranks(values: Values, weights: Values) -> Values:
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
