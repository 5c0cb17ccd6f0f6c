"""Measures how good a set of (score, cost) points is; score up, cost down; by moocore.

`fronts.hypervolume` is in score times the unit of cost. The others compare sets in a unit square,
for a distance that adds score to cost means nothing before both are put on one scale: a `Frame`.

Letters: P points, R points of a reference set, S seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.stats.dominance import default_reference, hypervolume, nondominated
from mpc_router.costs import CostVector

_Values = NDArray[np.float64]

_QUARTILES: Final = (0.25, 0.5, 0.75)
"""Shares of the seeds whose attainment surfaces are drawn."""

_MAXIMISE: Final = [True, False]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Holds the box that a picture of points is measured in: each side counts as one."""

    score: tuple[float, float]
    """(worst, best)."""

    cost: tuple[float, float]
    """(least, most)."""

    def __post_init__(self) -> None:
        sides = np.array([self.score, self.cost], np.float64)
        if not np.isfinite(sides).all() or (sides[:, 0] >= sides[:, 1]).any():
            raise ValueError(
                f"a frame of scores {self.score} and costs {self.cost} has no area; each pair must "
                "be finite and rise"
            )

    @classmethod
    def of_singles(cls, singles: _Values, vector: CostVector) -> Frame:
        """Spans from the default reference to the best single expert's score and least cost.

        `singles` (K,) are the single experts' scores. The least cost is the router with the
        cheapest route. Points may lie outside: nothing is cut off.

        Raises:
            ValueError: all experts score or cost the same, so a side would have no length.
        """
        worst, most = default_reference(singles, vector)
        return cls(
            score=(worst, float(np.max(singles))),
            cost=(vector.router + min(vector.routed), most),
        )

    def place(self, scores: _Values, costs: _Values) -> _Values:
        """Gives (P, 2) in shares of the sides: score from the worst, cost from the least."""
        table = _table(scores, costs)
        corner = np.array([self.score[0], self.cost[0]])
        sides = np.array([self.score[1] - self.score[0], self.cost[1] - self.cost[0]])
        return np.asarray((table - corner) / sides)


def igd_plus(points: tuple[_Values, _Values], best: tuple[_Values, _Values], frame: Frame) -> float:
    """Gives the mean over `best` of how far the nearest point falls short of it.

    The unit is shares of the frame.

    Both are (scores (P,), costs (P,)). Only what is worse counts, so a set that weakly dominates
    `best` has 0, and no set is better for being worse somewhere (Ishibuchi et al. 2015, unlike
    plain IGD).
    """
    import moocore

    ours, theirs = frame.place(*points), frame.place(*best)
    return float(moocore.igd_plus(ours, ref=theirs, maximise=_MAXIMISE))


def epsilon(points: tuple[_Values, _Values], best: tuple[_Values, _Values], frame: Frame) -> float:
    """Gives the least shift, in shares of the frame, that makes `points` cover `best`.

    The shift is the same on both axes.

    Additive epsilon (Zitzler et al. 2003): at most 0 where `points` weakly dominates `best`.
    """
    import moocore

    ours, theirs = frame.place(*points), frame.place(*best)
    return float(moocore.epsilon_additive(ours, ref=theirs, maximise=_MAXIMISE))


def contributions(scores: _Values, costs: _Values, *, reference: tuple[float, float]) -> _Values:
    """Gives what the hypervolume loses without each point, (P,); 0 for dominated ones and twins.

    A dominated point counts where the one that beats it is gone, which moocore leaves out unless
    told.
    """
    import moocore

    table = _table(scores, costs)
    losses = np.zeros(len(table))
    inside = (table[:, 0] > reference[0]) & (table[:, 1] < reference[1])
    if inside.any():
        losses[inside] = moocore.hv_contributions(
            table[inside], ref=reference, maximise=_MAXIMISE, ignore_dominated=False
        )
    return losses


def hypervolume_history(
    scores: _Values, costs: _Values, *, reference: tuple[float, float]
) -> _Values:
    """Gives the hypervolume of the first 1, 2, .. P points, (P,), which never falls.

    The points count in the order given.

    Points that are not finite (a trial that failed) add nothing.
    """
    table = np.column_stack([scores, costs]).astype(np.float64)
    volumes = np.zeros(len(table))
    front = np.empty((0, 2))
    for place, point in enumerate(table):
        volumes[place] = volumes[place - 1] if place else 0.0
        beaten = (front[:, 0] >= point[0]) & (front[:, 1] <= point[1])
        inside = point[0] > reference[0] and point[1] < reference[1]
        if not np.isfinite(point).all() or not inside or beaten.any():
            continue
        front = np.vstack([front, point])
        front = front[nondominated(front[:, 0], front[:, 1])]
        volumes[place] = hypervolume(front[:, 0], front[:, 1], reference=reference)
    return volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Holds what a share of the seeds reaches: the corners of a staircase, cheapest first."""

    share: float
    costs: _Values
    scores: _Values

    def at(self, cost: _Values) -> _Values:
        """Gives the score that so many seeds reach for at most this cost.

        It is NaN below the first corner.
        """
        cost = np.asarray(cost, np.float64)
        place = np.searchsorted(self.costs, cost, side="right")
        if not len(self.scores):
            return np.full(cost.shape, np.nan)
        return np.where(place > 0, self.scores[place - 1], np.nan)


def attainment(
    seeds: Sequence[tuple[_Values, _Values]], shares: Sequence[float] = _QUARTILES
) -> tuple[Surface, ...]:
    """Gives attainment surfaces: where a share of the seeds has a point as good or better.

    A seed is its (scores (P,), costs (P,)); seeds may differ in P. A share of .5 is attained where
    at least half of the seeds do (Fonseca et al. 2011); moocore counts in ceilings of share x S.

    Raises:
        ValueError: no seed, an empty one, a number that is not finite, a share outside of (0, 1].
    """
    import moocore

    if not seeds or any(len(np.atleast_1d(scores)) == 0 for scores, _ in seeds):
        raise ValueError("attainment needs at least one seed, and a point of each; found none")
    wrong = [share for share in shares if not 0 < share <= 1]
    if wrong:
        raise ValueError(f"a share of the seeds lies in (0, 1]; found {wrong[0]}")
    tables = [_table(scores, costs) * [-1, 1] for scores, costs in seeds]
    owners = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    percentiles = [100 * share for share in shares]
    corners = moocore.eaf(np.vstack(tables), owners, percentiles=percentiles)
    return tuple(
        _surface(corners[np.isclose(corners[:, 2], percent)], share)
        for share, percent in zip(shares, percentiles, strict=True)
    )


def _surface(rows: _Values, share: float) -> Surface:
    order = np.argsort(rows[:, 1])
    return Surface(share=share, costs=rows[order, 1], scores=-rows[order, 0])


def _table(scores: _Values, costs: _Values) -> _Values:
    """Gives a table (P, 2) and refuses values that are not finite, which moocore ignores."""
    table = np.column_stack([scores, costs]).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        score, cost = table[bad[0]]
        raise ValueError(
            f"point {bad[0]} has score {score} and cost {cost}; an indicator needs finite numbers: "
            "leave the point out"
        )
    return table
