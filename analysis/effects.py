"""Is what differs between points more than what differs between seeds? For studies of few points.

Letters: P points, S seeds.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.load import Run
from analysis.outcomes import roster

Values = NDArray[np.float64]

DRAWS: Final = 10_000
"""Permutations drawn where there are more than that; fewer are counted off."""

_TINY: Final = 1e-12
"""Statistics that differ by less, relatively, are equal: rounding must not decide a test."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """How far points lie apart in one measure, beside how far seeds do."""

    name: str
    """`score` or `cost`."""

    span: float
    """Between the least and the greatest of the points' means."""

    noise: float
    """Standard deviation between the seeds of a point, pooled over points."""

    p: float
    """Share of the permutations of points within seeds that lie as far apart."""


def effects(run: Run, *, split: str | None = None, vector: str | None = None) -> list[Effect]:
    """Score and cost of the run's whole points on a split; of the seeds that all points have.

    Empty where there are fewer than two points, or seeds in common.
    """
    name, costs = run.split(split), run.cost_vector(vector)
    whole = roster(run).points
    common = sorted(set.intersection(*(set(point.seeds) for point in whole)))
    if len(whole) < 2 or len(common) < 2:
        return []
    found = []
    for measure, column in (("score", f"{name}_score"), ("cost", f"{name}_cost_{costs.name}")):
        of_trial = dict(zip(run.trials["key"].astype(str), run.trials[column], strict=True))
        values = np.array(
            [[of_trial[point.keys[point.seeds.index(seed)]] for seed in common] for point in whole],
            np.float64,
        )
        if np.isfinite(values).all():
            found.append(effect(measure, values))
    return found


def effect(name: str, values: Values, *, seed: int = 0) -> Effect:
    """The effect in values (P, S), one row a point, one column a seed."""
    means = values.mean(axis=1)
    return Effect(
        name=name,
        span=float(np.ptp(means)),
        noise=float(np.sqrt(values.var(axis=1, ddof=1).mean())),
        p=permutation_test(values, seed=seed),
    )


def permutation_test(values: Values, *, seed: int = 0, draws: int = DRAWS) -> float:
    """Share of the permutations of points, within each seed, whose means vary at least as much.

    Within a seed all points saw the same batches and starting weights, so seeds are blocks
    (Friedman's design, with the variance of the means in place of ranks). Under the hypothesis that
    points do not differ, every permutation is as likely. All (P!)^(S - 1) of them are counted off
    where there are at most `draws`, for the first seed may stay as it is; else as many are drawn,
    and the sample as it is counts as one more.

    Args:
        values: (P, S), finite.
        seed: of the draws.
        draws: most permutations.
    """
    points, seeds = values.shape
    observed = _spread(values[None])[0] * (1 - _TINY)
    if math.factorial(points) ** (seeds - 1) <= draws:
        orders = [np.array(order) for order in itertools.permutations(range(points))]
        stack = np.stack(
            [
                np.column_stack([values[:, 0], *(values[o, s] for s, o in enumerate(each, 1))])
                for each in itertools.product(orders, repeat=seeds - 1)
            ]
        )
        return float((_spread(stack) >= observed).mean())
    source = np.random.default_rng(seed)
    many = np.broadcast_to(values, (draws, points, seeds))
    stack = source.permuted(many, axis=1)
    return float((1 + (_spread(stack) >= observed).sum()) / (1 + draws))


def _spread(stack: Values) -> Values:
    """Variance of the points' means: (D, P, S) -> (D,)."""
    return np.asarray(stack.mean(axis=2).var(axis=1))
