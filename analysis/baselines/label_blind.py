"""Computes the label-blind yardstick: the best expert's answers at the cheapest price.

On two classes, choosing between experts that disagree is classifying. So a router that is no better
a classifier than the best single expert reaches at most that expert's score, at the price of the
cheapest expert that answers as it does. The labelled oracle lies higher, but much of its lead is
luck that no router can foresee (LLMRouterBench, arXiv:2601.07206; arXiv:2605.07395).

Letters: N examples, K experts, B weightings (see `resampling`), P points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.curve_scores import aiq
from analysis.baselines.yardsticks import Mix
from analysis.stats.resampling import Weights, weighted_scores
from mpc_router.costs import CostVector
from mpc_router.tasks import Task, merit, score_of

_Values = NDArray[np.float64]

_TOLERANCES: Final = 65
"""Tolerances of a regression that are tried, spread evenly over the differences that occur."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBlind:
    """Holds what the label-blind yardstick of a pool reaches, by weighting."""

    expert: int
    """The best single expert, a place in the pool."""

    tolerance: float
    """How far another expert's value may lie from the best one's to agree; 0 for classes."""

    scores: _Values
    """(B,) those of the cheapest experts that agree; for classes the best single expert's own."""

    free: _Values
    """(B,) mean costs where looking costs nothing."""

    paid: _Values
    """(B,) mean costs where the cheapest expert always runs first."""


def _agreeing_routes(
    predictions: _Values, expert: int, vector: CostVector, *, tolerance: float = 0.0
) -> NDArray[np.intp]:
    """Routes each example to the cheapest expert that answers as `expert` does: (K, N) -> (N,).

    Of experts at one cost the first. Values agree where they differ by at most `tolerance`.
    """
    agree = np.abs(predictions - predictions[expert]) <= tolerance
    order = np.argsort(np.asarray(vector.experts, np.float64), kind="stable")
    return np.asarray(order[agree[order].argmax(axis=0)], np.intp)


def _best_single(task: Task, predictions: _Values, labels: _Values, vector: CostVector) -> int:
    """Gives the expert of the best score, of equals the cheapest: predictions (K, N)."""
    merits = merit(task, score_of(task, predictions, labels))
    order = np.lexsort((np.asarray(vector.experts, np.float64), -merits))
    return int(order[0])


def _widest_tolerance(
    task: Task, predictions: _Values, labels: _Values, *, expert: int, vector: CostVector
) -> float:
    """Gives the largest tolerance at which the agreeing experts score no worse than `expert`.

    It is 0 for classes. For a regression the candidates are quantiles of the differences between
    the expert's values and the others', on the examples given: hand in those of selection.
    """
    if not task.regression:
        return 0.0
    others = [row for row in range(len(predictions)) if row != expert]
    differences = np.abs(predictions[others] - predictions[expert])
    if not differences.size:
        return 0.0
    tolerances = np.unique(np.quantile(differences, np.linspace(0, 1, _TOLERANCES)))
    least = merit(task, score_of(task, predictions[expert][None], labels)[0])
    for tolerance in tolerances[::-1]:
        answers = _routed(predictions, expert, vector, float(tolerance))
        if merit(task, score_of(task, answers[None], labels)[0]) >= least:
            return float(tolerance)
    return 0.0


def _routed(predictions: _Values, expert: int, vector: CostVector, tolerance: float) -> _Values:
    routes = _agreeing_routes(predictions, expert, vector, tolerance=tolerance)
    return np.asarray(np.take_along_axis(predictions, routes[None], axis=0)[0], np.float64)


def label_blind(
    task: Task,
    chosen_on: tuple[_Values, _Values],
    predictions: _Values,
    labels: _Values,
    *,
    vector: CostVector,
    weights: Weights,
) -> LabelBlind:
    """Measures the yardstick: predictions (K, N), labels (N,), weights (B, N).

    `chosen_on` are predictions and labels of selection, where the best expert and a regression's
    tolerance are chosen. No router is paid: this is the ceiling of whatever decides.
    """
    expert = _best_single(task, *chosen_on, vector)
    tolerance = _widest_tolerance(task, *chosen_on, expert=expert, vector=vector)
    routes = _agreeing_routes(predictions, expert, vector, tolerance=tolerance)
    answers = np.take_along_axis(predictions, routes[None], axis=0)
    price = np.asarray(vector.experts, np.float64)
    cheapest = int(price.argmin())
    added = np.where(routes == cheapest, 0.0, price[routes])
    totals = weights.sum(axis=1, dtype=np.float64)
    return LabelBlind(
        expert=expert,
        tolerance=tolerance,
        scores=weighted_scores(task, answers, labels, weights)[0],
        free=np.asarray(weights @ price[routes] / totals, np.float64),
        paid=np.asarray(price[cheapest] + weights @ added / totals, np.float64),
    )


def mix_area(mix: Mix) -> _Values:
    """Gives the mean height of the random mix between its cheapest and dearest cost, (B,)."""
    low, high = mix.costs[0], mix.costs[-1]
    if not low < high:
        return np.asarray(mix.scores[0], np.float64)
    return np.asarray(np.trapezoid(mix.scores, mix.costs, axis=0) / (high - low), np.float64)


def hull_area(
    costs: _Values, merits: _Values, *, ends: tuple[float, float], floor: _Values
) -> _Values:
    """Gives the mean height of the points' concave hull by weighting: twice (P, B) -> (B,).

    `floor` (B,) is what can always be had at the low end, the cheapest expert alone. See `aiq`.

    Raises:
        ValueError: the ends do not rise, or a number is not finite.
    """
    return np.asarray(
        [
            aiq(np.append(costs[:, b], ends[0]), np.append(merits[:, b], floor[b]), ends=ends)
            for b in range(merits.shape[1])
        ],
        np.float64,
    )
