"""Decides which point to take: chance to be on the front, knee, cap on cost, score to reach.

Everything here takes arrays, so it works on points, on operating points of curves, and under any
vector. Of scores high is better; where a low one is, hand in their `mpc_router.tasks.merit`.
Letters: P points, B weightings (column 0 the estimate, the others resamples, as in
`resampling`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.stats.dominance import nondominated
from analysis.stats.resampling import interval

_Values = NDArray[np.float64]

_DRAWS = 64
"""Counts the draws that `front_chance` puts in order at once."""


def front_chance(scores: _Values, costs: _Values) -> _Values:
    """Gives the share of the resamples in which each point is on the front: 2 x (P, B) -> (P,).

    Paired: column b of all points belongs to one resample of seeds and examples. Of points that are
    equal in a resample each is on the front (unlike `fronts.nondominated`, which keeps one), so a
    twin takes no chance away.

    Raises:
        ValueError: shapes differ, there is no resample, or a number is not finite.
    """
    import moocore

    scores, costs = np.asarray(scores, np.float64), np.asarray(costs, np.float64)
    if scores.shape != costs.shape or scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(
            f"found scores {scores.shape} and costs {costs.shape}; need both as (points, 1 + "
            "resamples) with at least one resample"
        )
    _finite(scores, costs)
    times = np.zeros(len(scores), np.int64)
    for start in range(1, scores.shape[1], _DRAWS):
        draws = slice(start, start + _DRAWS)
        # a draw's column is spread over the whole table: some draws are put in order at once
        for drawn in np.stack([scores[:, draws].T, costs[:, draws].T], axis=-1):
            times += moocore.is_nondominated(drawn, maximise=[True, False], keep_weakly=True)
    return np.asarray(times / (scores.shape[1] - 1), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimism:
    """Says how much better chosen points looked where they were chosen than where quoted."""

    chosen: float
    """Mean over the chosen points of score on selection less score on the quoted split."""

    all: float
    """The same over all points: how much easier the selection split is for every router."""

    extra: float
    """`chosen` less `all`: what the choice itself added."""

    extra_low: float
    extra_high: float
    """95 % interval of `extra` over resamples."""


def optimism(selection: _Values, quoted: _Values, chosen: NDArray[np.bool_]) -> Optimism:
    """Measures the optimism of a choice made on selection.

    Scores are (P, B) of both splits, `chosen` is (P,).

    The two splits' examples are resampled apart and their seeds together, so column b of both must
    hold the same seeds. The choice stays the one that was made.

    Raises:
        ValueError: shapes differ, nothing is chosen, or a number is not finite.
    """
    selection, quoted = np.asarray(selection, np.float64), np.asarray(quoted, np.float64)
    if selection.shape != quoted.shape or selection.shape[:1] != chosen.shape:
        raise ValueError(
            f"found {selection.shape} scores on selection, {quoted.shape} quoted and "
            f"{chosen.shape} choices; need the same points and resamples of all"
        )
    if not chosen.any():
        raise ValueError("no point is chosen, so there is no optimism of a choice")
    _finite(selection, quoted)
    gap = selection - quoted
    extra = gap[chosen].mean(axis=0) - gap.mean(axis=0)
    low, high = interval(extra)
    return Optimism(
        chosen=float(gap[chosen, 0].mean()),
        all=float(gap[:, 0].mean()),
        extra=float(extra[0]),
        extra_low=float(low),
        extra_high=float(high),
    )


def knee(scores: _Values, costs: _Values) -> int | None:
    """Gives the number of the front's point that bulges most over the line between its ends.

    Both axes are scaled so that the front spans one (the answer does not depend on units). None
    where the front has fewer than three points, or none of them rises above the line: then no point
    is a better bargain than a coin between the ends.
    """
    scores, costs = np.asarray(scores, np.float64), np.asarray(costs, np.float64)
    front = np.flatnonzero(nondominated(scores, costs))
    if len(front) < 3:
        return None
    front = front[np.argsort(costs[front])]
    along = (costs[front] - costs[front[0]]) / (costs[front[-1]] - costs[front[0]])
    up = (scores[front] - scores[front[0]]) / (scores[front[-1]] - scores[front[0]])
    bulge = up - along
    best = int(bulge.argmax())
    return int(front[best]) if bulge[best] > 1e-12 else None


def best_within(scores: _Values, costs: _Values, *, cap: float) -> int | None:
    """Gives the number of the best-scoring point that costs at most `cap`.

    Of equals it is the cheapest.

    None where every point costs more. To be careful, give the upper ends of the costs' intervals.
    """
    return _first(scores, costs, allowed=np.asarray(costs) <= cap, by_score=True)


def cheapest_reaching(scores: _Values, costs: _Values, *, score: float) -> int | None:
    """Gives the number of the cheapest point that scores at least `score`.

    Of equals it is the best.

    None where no point does. To be careful, give the lower ends of the scores' intervals.
    """
    return _first(scores, costs, allowed=np.asarray(scores) >= score, by_score=False)


def _first(
    scores: _Values, costs: _Values, *, allowed: NDArray[np.bool_], by_score: bool
) -> int | None:
    """Gives the best allowed point by (score, cost) or by (cost, score); of twins the first."""
    scores, costs = np.asarray(scores, np.float64), np.asarray(costs, np.float64)
    _finite(scores, costs)
    numbers = np.flatnonzero(allowed)
    if not len(numbers):
        return None
    keys = (costs, -scores) if by_score else (-scores, costs)
    order = np.lexsort(tuple(key[numbers] for key in keys))
    return int(numbers[order[0]])


def _finite(*tables: _Values) -> None:
    for table in tables:
        bad = np.argwhere(~np.isfinite(table))
        if len(bad):
            raise ValueError(
                f"point {bad[0][0]} has a score or cost of {table[tuple(bad[0])]}; leave it out"
            )
