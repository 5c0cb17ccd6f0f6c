"""Computes what a router is compared with: experts, a coin, the majority class, an oracle.

Single experts and the coin pay no router: they look at nothing. Routers and the oracle pay it.
Letters: N examples, K experts, B weightings (see `resampling`), G costs of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.stats.resampling import Weights, mixed_scores, weighted_scores
from mpc_router.costs import CostVector
from mpc_router.tasks import Task, evaluate, merit, score_of

_Values = NDArray[np.float64]

_GRID: Final = 65
_RANKED_GRID: Final = 17
"""Costs at which a mix is scored; between them it is interpolated (for accuracy that is exact)."""

_LEAST_ROOM: Final = 0.02
"""Captured headroom is quoted where mix and oracle lie at least this far apart."""

_CURVE_POINTS: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Holds the best score of a coin between two experts for at most a cost, by weighting."""

    costs: _Values
    """(G,) ascending, the experts' own costs among them."""

    scores: _Values
    """(G, B), never getting worse along the costs."""

    def at(self, cost: _Values) -> _Values:
        """Gives the score at costs (P, B) or (P, 1): (P, B); beyond the ends the end's own."""
        inside = np.clip(np.asarray(cost, np.float64), self.costs[0], self.costs[-1])
        if len(self.costs) == 1:
            return np.broadcast_to(
                self.scores[0], np.broadcast_shapes(inside.shape, (1, self.width))
            )
        upper = np.searchsorted(self.costs, inside).clip(1, len(self.costs) - 1)
        span = self.costs[upper] - self.costs[upper - 1]
        portion = (inside - self.costs[upper - 1]) / span
        column = np.arange(self.width)
        below, above = self.scores[upper - 1, column], self.scores[upper, column]
        return np.asarray(below + portion * (above - below))

    @property
    def width(self) -> int:
        """Gives the number of weightings B."""
        return int(self.scores.shape[1])

    @classmethod
    def mean(cls, mixes: Sequence[Mix]) -> Mix:
        """Gives the mean of the scores of several at each cost."""
        if len(mixes) == 1:
            return mixes[0]
        costs = np.unique(np.concatenate([mix.costs for mix in mixes]))
        return cls(costs=costs, scores=np.mean([mix.at(costs[:, None]) for mix in mixes], axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Holds score over cost, ascending in cost."""

    costs: _Values
    scores: _Values

    def at(self, cost: _Values) -> _Values:
        """Gives the score at a cost: linear between the curve's points, flat beyond its ends."""
        return np.interp(cost, self.costs, self.scores)

    @classmethod
    def mean(cls, curves: Sequence[Curve]) -> Curve:
        """Gives the mean of the scores of several at each cost."""
        if len(curves) == 1:
            return curves[0]
        costs = np.unique(np.concatenate([curve.costs for curve in curves]))
        return cls(costs=costs, scores=np.mean([curve.at(costs) for curve in curves], axis=0))


def random_mix(
    task: Task, predictions: _Values, labels: _Values, *, vector: CostVector, weights: Weights
) -> Mix:
    """Gives what a coin that ignores the input reaches for at most a cost, no router paid.

    predictions (K, N), labels (N,), weights (B, N). At each cost the best of all pairs of experts
    whose costs enclose it, mixed by `mixed_scores`; for accuracy that is the upper concave hull of
    the single experts in (cost, score). Money may be left over, so the curve never gets worse.
    """
    costs = np.asarray(vector.experts, np.float64)
    steps = _RANKED_GRID if task.regression else _GRID
    grid = np.unique(np.concatenate([np.linspace(costs.min(), costs.max(), steps), costs]))
    best = np.full((len(grid), len(weights)), -np.inf)
    singles = merit(task, weighted_scores(task, predictions, labels, weights))
    for expert, cost in enumerate(costs):
        here = np.searchsorted(grid, cost)
        best[here] = np.maximum(best[here], singles[expert])
    for pair in combinations(np.argsort(costs, kind="stable"), 2):
        cheap, dear = costs[list(pair)]
        between = (grid > cheap) & (grid < dear)
        if not between.any():
            continue
        mixed = mixed_scores(
            task,
            (predictions[pair[0]], predictions[pair[1]]),
            (grid[between] - cheap) / (dear - cheap),
            labels=labels,
            weights=weights,
        )
        best[between] = np.maximum(best[between], merit(task, mixed))
    return Mix(costs=grid, scores=merit(task, np.maximum.accumulate(best, axis=0)))


def oracle_routes(right: NDArray[np.bool_], vector: CostVector) -> NDArray[np.intp]:
    """Routes each example to the cheapest expert that is right: (K, N) -> (N,).

    Where none is right it is the cheapest of all.
    """
    order = np.argsort(vector.routed, kind="stable")
    return np.asarray(order[right[order].argmax(axis=0)], np.intp)


def oracle(
    task: Task,
    predictions: _Values,
    right: NDArray[np.bool_],
    labels: _Values,
    *,
    vector: CostVector,
) -> tuple[float, float]:
    """Gives (score, cost) of the oracle, the router paid."""
    routes = oracle_routes(right, vector)
    routed_predictions = np.take_along_axis(predictions, routes[None], axis=0)
    cost = vector.of_routes(routes).mean()
    return float(score_of(task, routed_predictions, labels)[0]), float(cost)


def oracle_curve(task: Task, predictions: _Values, labels: _Values, *, vector: CostVector) -> Curve:
    """Starts with all on the cheapest expert and upgrades by gain per added cost; router paid.

    An example's gain is becoming right, for a regression the fall of its absolute error. The
    metric is evaluated along the way; an upper bound of every router for accuracy only.
    """
    if task.regression:
        worth = -np.abs(predictions - labels)
    else:
        worth = (predictions == labels).astype(np.float64)
    steps = _upgrades(worth, np.asarray(vector.routed, np.float64))
    order = np.argsort(-steps.ratio, kind="stable")
    ends = np.flatnonzero(np.diff(steps.ratio[order], append=-np.inf)) + 1
    if len(ends) > _CURVE_POINTS:
        ends = np.unique(np.linspace(0, len(order), _CURVE_POINTS).astype(np.intp))[1:]
    routes = np.full(predictions.shape[1], _cheapest(vector), np.intp)
    stack, costs, done = [routes.copy()], [vector.of_routes(routes).mean()], 0
    for end in map(int, ends):
        taken = order[done:end]
        routes[steps.example[taken]] = steps.expert[taken]
        stack.append(routes.copy())
        costs.append(vector.of_routes(routes).mean())
        done = end
    routed_predictions = np.take_along_axis(predictions, np.asarray(stack), axis=0)
    return Curve(costs=np.asarray(costs), scores=score_of(task, routed_predictions, labels))


@dataclass(frozen=True, slots=True)
class _Upgrades:
    example: NDArray[np.intp]
    expert: NDArray[np.intp]
    ratio: _Values


def _upgrades(worth: _Values, costs: _Values) -> _Upgrades:
    """Lists steps on each example's upper hull of (cost, worth); ratios fall along it."""
    order = np.argsort(costs, kind="stable")
    examples = worth.shape[1]
    now = np.full(examples, order[0])
    steps: list[tuple[NDArray[np.intp], NDArray[np.intp], _Values]] = []
    everyone = np.arange(examples)
    for _ in range(len(order) - 1):
        gain = worth - worth[now, everyone]
        added = costs[:, None] - costs[now]
        ratio = np.divide(gain, added, out=np.full_like(gain, -np.inf), where=added > 0)
        free = (added <= 0) & (gain > 0) & (costs[:, None] == costs[now])
        ratio[free] = np.finfo(np.float64).max
        best = ratio[order].argmax(axis=0)  # of equal ratios the cheapest
        expert = order[best]
        gained = ratio[expert, everyone]
        moving = np.flatnonzero(gained > 0)
        steps.append((moving, expert[moving], gained[moving]))
        now[moving] = expert[moving]
    if not steps:
        return _Upgrades(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))
    return _Upgrades(
        np.concatenate([one[0] for one in steps]),
        np.concatenate([one[1] for one in steps]),
        np.concatenate([one[2] for one in steps]),
    )


def _cheapest(vector: CostVector) -> int:
    return int(np.argmin(vector.routed))


def majority(task: Task, chosen_on: _Values, labels: _Values) -> tuple[float, dict[str, float]]:
    """Predicts the commonest label of `chosen_on` for all: (that label, metrics on `labels`).

    For a regression the median, of which no constant has a smaller absolute error; correlations of
    a constant count as 0. Metrics of outputs are left out: a constant has none.
    """
    if task.regression:
        constant = float(np.median(chosen_on))
    else:
        names, counts = np.unique(chosen_on, return_counts=True)
        constant = float(names[counts.argmax()])
    kept = tuple(name for name in task.metrics if not task.metric(name).of_outputs)
    answers = np.full((1, len(labels)), constant)
    values = evaluate(replace(task, metrics=kept), answers, labels)
    return constant, {name: float(value[0]) for name, value in values.items()}


def least_room(task: Task, constant: float) -> float:
    """Gives how far mix and oracle must lie apart for a captured headroom to be quoted.

    It is `_LEAST_ROOM`; of a score without bounds that share of what the best constant scores.
    """
    return _LEAST_ROOM if has_bounds(task) else _LEAST_ROOM * abs(constant)


def has_bounds(task: Task) -> bool:
    """Says whether the score has a least and a greatest value."""
    return all(np.isfinite(task.metric(name).range).all() for name in task.score_metrics)


def captured_headroom(
    merits: _Values, mix: _Values, best: _Values, *, least: float = _LEAST_ROOM
) -> _Values:
    """Gives (merit - mix) / (oracle curve - mix) at one cost; NaN where there is less room.

    All three are merits (`mpc_router.tasks.merit`), of which high is better.
    """
    room = np.asarray(best, np.float64) - mix
    wide = room >= least
    return np.where(wide, (np.asarray(merits) - mix) / np.where(wide, room, 1.0), np.nan)


def regret(merits: _Values, best: _Values) -> _Values:
    """Gives how much better the oracle curve is at the same cost, both merits; 0 for an oracle.

    For accuracy and absolute errors never under 0: no routing of that cost scores better. For other
    metrics the curve is that of a greedy oracle, which a routing may beat in principle.
    """
    return np.asarray(best, np.float64) - merits
