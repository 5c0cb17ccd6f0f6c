"""Scores a router's curve: AIQ (RouterBench), PGR, APGR and CPT (RouteLLM).

Points are (cost, score); where only two experts are, the cost may be the share of strong calls.
Letters: P points.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.yardsticks import Curve

_Values = NDArray[np.float64]

_ROUNDING: Final = 1e-12


def _concave_hull(costs: _Values, scores: _Values) -> Curve:
    """Gives the rising upper concave hull of points: what coins between them reach.

    It starts at the cheapest point's best score and ends at the cheapest of the best scores; money
    may be left over, so beyond it the curve stays (as `Curve.at` does).

    Raises:
        ValueError: no point, or a number that is not finite.
    """
    costs, scores = _points(costs, scores)
    places = hull_places(costs, scores)
    return Curve(costs=costs[places], scores=scores[places])


def hull_places(costs: _Values, scores: _Values) -> list[int]:
    """Gives the places of the points that the rising upper concave hull turns at, cheapest first.

    A coin between two neighbours of them reaches whatever a coin between any points (P,) reaches.
    """
    order = np.lexsort((-scores, costs)).tolist()
    points = list(zip(costs.tolist(), scores.tolist(), strict=True))
    hull: list[int] = []
    for place in order:
        if hull and points[place][1] <= points[hull[-1]][1]:
            continue
        while len(hull) > 1 and _under(points[hull[-2]], points[hull[-1]], points[place]):
            hull.pop()
        hull.append(place)
    return hull


def _under(
    left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]
) -> bool:
    """Says whether the middle does not rise above the line between the others."""
    rise, run = right[1] - left[1], right[0] - left[0]
    return (middle[1] - left[1]) * run <= rise * (middle[0] - left[0])


def aiq(
    costs: _Values, scores: _Values, *, ends: tuple[float, float], floor: float | None = None
) -> float:
    """Gives the average improvement in quality: the concave hull's mean height between two costs.

    1 / (c_max - c_min) times the integral of the points' non-decreasing concave hull over cost,
    `ends` being the cheapest and the dearest expert's (RouterBench, arXiv:2403.12031; its code
    divides by c_max, which is not its definition). Beyond the dearest point the hull is held. A
    router that starts dearer than `c_min`, as one does whose own cost is paid, has no point there:
    `floor` is then the score of what can be had instead, the cheapest expert alone.

    Raises:
        ValueError: ends that do not rise, or no point at `c_min` and no floor.
    """
    low, high = ends
    if not low < high:
        raise ValueError(f"AIQ is a mean over costs from {low} to {high}, which must rise")
    costs, scores = _points(costs, scores)
    if costs.min() > low:
        if floor is None:
            raise ValueError(
                f"the cheapest point costs {costs.min():g}, more than {low:g} where AIQ begins; "
                "give the score that is had there, that of the cheapest expert, as `floor`"
            )
        costs, scores = np.append(costs, low), np.append(scores, floor)
    return _mean_height(_concave_hull(costs, scores), low, high)


def _mean_height(curve: Curve, low: float, high: float) -> float:
    """Gives the mean of a piecewise linear curve between two places, its ends held."""
    inside = (curve.costs > low) & (curve.costs < high)
    places = np.concatenate([[low], curve.costs[inside], [high]])
    return float(np.trapezoid(curve.at(places), places) / (high - low))


def strong_share(costs: _Values, *, weak: float, strong: float) -> _Values:
    """Puts costs on a scale where the weak expert costs 0 and the strong one 1.

    With two experts and a free router this is the share of calls to the strong one; with more, what
    stands for it. A router whose own cost is paid may lie beyond 1.
    """
    if not weak < strong:
        raise ValueError(f"the weak expert costs {weak} and the strong one {strong}; it must rise")
    return np.asarray((np.asarray(costs, np.float64) - weak) / (strong - weak))


def pgr(scores: _Values, *, weak: float, strong: float) -> _Values:
    """Gives the gap recovered, (score - weak) / (strong - weak): 0 the weak, 1 the strong expert.

    Raises:
        ValueError: the strong expert is not better: there is no gap to recover.
    """
    if not weak < strong:
        raise ValueError(
            f"the weak expert scores {weak} and the strong one {strong}: there is no gap to "
            "recover; compare with the random mix instead"
        )
    return np.asarray((np.asarray(scores, np.float64) - weak) / (strong - weak))


def apgr(shares: _Values, gaps: _Values) -> float:
    """Averages the gap recovered over the share of strong calls from 0 to 1, by trapezoids.

    `shares` (P,) and their `gaps` (P,), see `strong_share` and `pgr`. A router that never calls the
    strong expert is the weak one, and one that always does the strong one: (0, 0) and (1, 1) are
    added where the points do not reach so far. A coin between the two has 1/2.
    """
    curve = _gap_curve(shares, gaps)
    return _mean_height(curve, 0.0, 1.0)


def cpt(shares: _Values, gaps: _Values, *, wanted: float) -> float:
    """Gives the least share of strong calls that recovers a gap of `wanted` (CPT).

    CPT(50) is `wanted=.5`. Between points the gap is linear, and the ends are those of `apgr`; NaN
    where so much is never recovered (RouteLLM, arXiv:2406.18665).

    Raises:
        ValueError: `wanted` does not lie in [0, 1].
    """
    if not 0 <= wanted <= 1:
        raise ValueError(f"the gap wanted is a share from 0 to 1; found {wanted}: CPT(50) is 0.5")
    curve = _gap_curve(shares, gaps)
    reached = np.flatnonzero(curve.scores >= wanted - _ROUNDING)
    if not len(reached):
        return float("nan")
    first = int(reached[0])
    if first == 0:
        return float(curve.costs[0])
    span = slice(first - 1, first + 1)
    return float(np.interp(wanted, curve.scores[span], curve.costs[span]))


def _gap_curve(shares: _Values, gaps: _Values) -> Curve:
    """Orders points by share between 0 and 1 with both ends; of equal shares the best stays."""
    shares, gaps = _points(shares, gaps)
    if shares.min() > 0:
        shares, gaps = np.append(shares, 0.0), np.append(gaps, 0.0)
    if shares.max() < 1:
        shares, gaps = np.append(shares, 1.0), np.append(gaps, 1.0)
    places = np.unique(shares)
    best = np.array([gaps[shares == place].max() for place in places])
    curve = Curve(costs=places, scores=best)
    inside = places[(places > 0) & (places < 1)]
    kept = np.concatenate([[0.0], inside, [1.0]])
    return Curve(costs=kept, scores=curve.at(kept))


def _points(costs: _Values, scores: _Values) -> tuple[_Values, _Values]:
    costs, scores = np.asarray(costs, np.float64), np.asarray(scores, np.float64)
    if costs.shape != scores.shape or costs.ndim != 1 or not len(costs):
        raise ValueError(
            f"found {costs.shape} costs and {scores.shape} scores; need as many of both, at least 1"
        )
    if not (np.isfinite(costs).all() and np.isfinite(scores).all()):
        raise ValueError("a cost or a score is NaN or infinite; leave the point out")
    return costs, scores
