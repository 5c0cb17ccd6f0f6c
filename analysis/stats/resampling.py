"""Scores predictions under example weights: the bootstrap and the mix of experts use this.

Letters: R rows of predictions, N examples, B weightings, S seeds, K classes. Row 0 of the weights
made here is always the sample as it is; the others are resamples. A weighting counts an example as
often as its weight says, fractions allowed, so the score of a weighting is that of the resampled
split.

Seeds and examples are crossed: every seed sees every example. Resampling both at once counts the
chance that belongs to neither alone, such as whom a router asks when it draws lots, up to three
times (McCullagh 2000, "Resampling and exchangeable arrays"; Owen 2007, "The pigeonhole bootstrap"),
and a bootstrap of S seeds sees (S - 1) / S of their variance. The remedy here is `over_seeds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.tasks import Counts, Metric, Task, class_numbers

_Values = NDArray[np.float64]
Weights = NDArray[np.float32]

_RESAMPLES: Final = 1000
_RANKED_RESAMPLES: Final = 200
"""For regressions: every resample is ranked anew, which costs a hundred times more."""

_LEVEL: Final = 0.95
_ROUNDING: Final = 1e-24
"""Of values squared: a variance of less is no variance."""

_CHUNK: Final = 128
_CELLS: Final = 1 << 22
"""Counts (rows x weightings x classes) that are held at once: bounds memory."""


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


def stream_weights(examples: int, resamples: int, seed: int, stream: int) -> Weights:
    """Gives `example_weights` of a seed and a stream; those of small splits are drawn once.

    Questions of one report resample the same examples. What is given cannot be written to.
    """
    small = (1 + resamples) * examples <= _CELLS
    return (_kept_weights if small else _drawn_weights)(examples, resamples, seed, stream)


def _drawn_weights(examples: int, resamples: int, seed: int, stream: int) -> Weights:
    weights = example_weights(examples, resamples, np.random.default_rng([seed, stream]))
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=4)
def _kept_weights(examples: int, resamples: int, seed: int, stream: int) -> Weights:
    return _drawn_weights(examples, resamples, seed, stream)


def seed_leans(seeds: int, resamples: int, rng: np.random.Generator) -> _Values:
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


def over_seeds(lanes: _Values, leans: _Values, centre: _Values | None = None) -> _Values:
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


def seed_excess(lanes: _Values) -> float:
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


def bounded(task: Task, scores: _Values) -> _Values:
    """Cuts draws of a score to what it can be: the mean of its metrics' ranges.

    Draws of seeds that differ much would leave it.
    """
    ranges = [metric.range for metric in _score_metrics(task)]
    lowest, highest = np.mean(ranges, axis=0)
    return np.clip(scores, lowest, highest)


def weighted_shares(routes: NDArray[np.integer[Any]], experts: int, weights: Weights) -> _Values:
    """Gives the share of examples routed to each expert by weighting: (L, N) -> (L, B, K)."""
    total = weights.sum(axis=1, dtype=np.float64)
    counts = [_sums(routes == expert, weights) / total for expert in range(experts)]
    return np.stack(counts, axis=-1)


def interval(values: _Values, level: float = _LEVEL) -> tuple[_Values, _Values]:
    """Gives the percentile interval over the last axis, whose first entry is the estimate.

    The estimate is no resample.

    NaN where there is no resample.
    """
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan), np.full(values.shape[:-1], np.nan)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values[..., 1:], [tail, 100 - tail], axis=-1)
    return np.asarray(low), np.asarray(high)


def weighted_scores(task: Task, predictions: _Values, labels: _Values, weights: Weights) -> _Values:
    """Scores each row of predictions under each weighting: (R, N), (N,), (B, N) -> (R, B).

    Raises:
        ValueError: a prediction or a label is none of the task's classes.
    """
    if task.regression:
        return _score_of_values(task, predictions, labels, weights.astype(np.float64))
    count = _counter(task, labels, weights)
    rows = max(1, _CELLS // (len(weights) * _width(task)))
    scores = [
        _score_of_counts(task, count(predictions[first : first + rows]))
        for first in range(0, len(predictions), rows)
    ]
    return np.concatenate(scores) if scores else np.empty((0, len(weights)))


def mixed_scores(
    task: Task,
    pair: tuple[_Values, _Values],
    portions: _Values,
    *,
    labels: _Values,
    weights: Weights,
) -> _Values:
    """Scores a coin that takes the first row of `pair` with 1 - portion, else the second: (J, B).

    A coin's outcome for many examples is the split in which each example stands twice, once
    with each prediction, weighted by the coin: for accuracy and absolute errors a line between the
    two scores, for F1, balanced accuracy and Matthews the score of mixed counts of classes, for
    correlations that of mixed moments and ranks, which is what simulated coins tend to.
    """
    if task.regression:
        both, twice = np.concatenate(pair)[None], np.concatenate([labels, labels])
        wide = weights.astype(np.float64)
        rows = [
            _score_of_values(task, both, twice, np.hstack([(1 - p) * wide, p * wide]))[0]
            for p in portions
        ]
        return np.asarray(rows).reshape(len(portions), len(weights))
    count = _counter(task, labels, weights)
    first, second = (count(row[None]) for row in pair)
    step = max(1, _CELLS // (len(weights) * _width(task)))
    scores = [
        _score_of_counts(task, _mixed(first, second, portions[start : start + step]))
        for start in range(0, len(portions), step)
    ]
    return np.concatenate(scores) if scores else np.empty((0, len(weights)))


def _mixed(first: Counts, second: Counts, portions: _Values) -> Counts:
    """Mixes counts (1, B, K) by portions (J,): (J, B, K)."""
    share = portions[:, None, None]
    return Counts(
        *(
            (1 - share) * getattr(first, name) + share * getattr(second, name)
            for name in ("hits", "wrong", "missed")
        )
    )


def _sums(cells: NDArray[np.bool_], weights: Weights) -> _Values:
    """Sums the weight of the true cells: (R, N), (B, N) -> (R, B), exact for whole weights."""
    return (cells.astype(np.float32) @ weights.T).astype(np.float64)


def _score_metrics(task: Task) -> list[Metric]:
    return [task.metric(name) for name in task.score_metrics]


def _totals(task: Task) -> bool:
    """Says whether the score needs only how many predictions are right."""
    return task.outputs != 2 and all(metric.totals for metric in _score_metrics(task))


def _width(task: Task) -> int:
    return 1 if _totals(task) else task.outputs


def _counter(task: Task, labels: _Values, weights: Weights) -> Callable[[_Values], Counts]:
    """Gives what counts rows of predictions (R, N) under the weightings: (R, B, K).

    K is 1 where the score needs totals alone.
    """
    total = weights.sum(axis=1, dtype=np.float64)
    if _totals(task):

        def count_right(rows: _Values) -> Counts:
            right = _sums(rows == labels, weights)
            return Counts.of_totals(right, total - right)

        return count_right
    if task.outputs == 2:
        true = labels == 1

        def count_two(rows: _Values) -> Counts:
            guessed = rows == 1
            tp, fp = _sums(guessed & true, weights), _sums(guessed & ~true, weights)
            fn = _sums(~guessed & true, weights)
            return Counts.of_two(tp, fp, fn, total - tp - fp - fn)

        return count_two
    return _class_counter(labels, weights, task.outputs)


def _class_counter(labels: _Values, weights: Weights, classes: int) -> Callable[[_Values], Counts]:
    """Gives what counts many classes: work and memory grow with examples, not with classes."""
    from scipy import sparse

    columns = np.ascontiguousarray(weights.T)
    truth = class_numbers(labels, classes)

    def sums(numbers: NDArray[np.intp], kept: NDArray[np.bool_]) -> _Values:
        row, example = np.nonzero(kept)
        places = row * classes + numbers[row, example]
        cells = sparse.csr_matrix(
            (np.ones(len(places), np.float32), (places, example)),
            shape=(len(numbers) * classes, len(truth)),
        )
        counted = np.asarray(cells @ columns, np.float64)
        return counted.reshape(len(numbers), classes, -1).swapaxes(1, 2)

    everything = np.ones((1, len(truth)), np.bool_)
    of_labels = sums(truth[None], everything)

    def count_classes(rows: _Values) -> Counts:
        numbers = class_numbers(rows, classes)
        guessed = sums(numbers, np.broadcast_to(everything, numbers.shape))
        return Counts.of_margins(sums(numbers, numbers == truth), guessed, of_labels)

    return count_classes


def _score_of_counts(task: Task, counts: Counts) -> _Values:
    of_counts = [metric.of_counts for metric in _score_metrics(task)]
    return np.asarray(
        np.mean([metric(counts) for metric in of_counts if metric is not None], axis=0)
    )


def _score_of_values(task: Task, rows: _Values, labels: _Values, weights: _Values) -> _Values:
    """Gives a regression's score by weighting: (R, M), (M,), (B, M) -> (R, B)."""
    of_values = [metric.of_weighted_values for metric in _score_metrics(task)]
    return np.asarray(
        np.mean([metric(rows, labels, weights) for metric in of_values if metric is not None], 0)
    )
