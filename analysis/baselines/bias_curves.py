"""Computes cost-bias curves: one training gives many operating points.

A router with logits z sends an example to argmax_k log softmax(z)_k - bias * cost_k. At bias 0 it
is the router as trained; a larger bias saves, a negative one spends. Since log softmax differs from
z by the same amount for all experts, the logits themselves give the same routes.

A router whose routes are paths of experts decides state by state, and the price of each of its M
numbers is that of the path that the number is for (`mpc_router.routes.Decisions`).

Letters: N examples, K experts (or paths, where these are the routes), G biases, L trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines._routed import shares_and_scores
from analysis.stats.choice import best_within
from mpc_router.costs import CostVector
from mpc_router.routes import Decisions
from mpc_router.tasks import Task

_Values = NDArray[np.float64]

BIASES: Final = 49
"""Biases of a curve: few enough to draw, and every one is another share of changed routes."""

_CELLS: Final = 1 << 15
"""Logits less a bias that are held at once: few enough for a processor's cache."""


def route(
    logits: _Values, vector: CostVector, biases: _Values, decisions: Decisions | None = None
) -> NDArray[np.integer[Any]]:
    """Routes under each bias: logits (N, K), biases (G,) -> (G, N); of equals the first expert.

    With `decisions` that are made in several states the logits are (N, M).

    The price of a route is what it adds once the router is paid (`CostVector.routed`). A bias is in
    nats per unit of the vector, so it belongs to the vector that it was found under.
    """
    price = _prices(vector, decisions)
    if logits.ndim != 2 or logits.shape[1] != len(price):
        raise ValueError(
            f"logits {logits.shape} and the {len(price)} experts of vector {vector.name!r} do not "
            "match; need (examples, experts)"
        )
    routes = np.empty((len(biases), len(logits)), np.min_scalar_type(len(vector.routed)))
    rows = max(1, _CELLS // max(1, logits.size))
    for first in range(0, len(biases), rows):
        part = slice(first, first + rows)
        added = np.multiply.outer(biases[part], price)
        if decisions is not None and decisions.staged:
            routes[part] = decisions.routes(logits - added[:, None])
        else:
            routes[part] = _largest(logits, added)
    return routes


def _largest(logits: _Values, added: _Values) -> NDArray[np.integer[Any]]:
    """Finds the largest of logits (N, K) less what is added (G, K): (G, N), of equals the first.

    It goes expert by expert: `argmax` over an axis of a few numbers takes several times as long.
    """
    columns = np.ascontiguousarray(logits.T)
    best = columns[0] - added[:, :1]
    largest = np.zeros(best.shape, np.min_scalar_type(len(columns)))
    for number in range(1, len(columns)):
        value = columns[number] - added[:, number, None]
        np.maximum(largest, np.multiply(value > best, number, dtype=largest.dtype), out=largest)
        np.maximum(best, value, out=best)
    return largest


def _prices(vector: CostVector, decisions: Decisions | None) -> _Values:
    """Gives what the route of each of a router's numbers adds to the router's cost."""
    routed = np.asarray(vector.routed, np.float64)
    return routed if decisions is None else decisions.price(routed)


def _turning_biases(
    logits: _Values, vector: CostVector, decisions: Decisions | None = None
) -> _Values:
    """Finds every bias at which a route can change: those of each state, as of a router alone.

    A route follows from what is chosen in the states on its way, so it changes nowhere else.
    """
    price = _prices(vector, decisions)
    states = [slice(None)] if decisions is None else list(decisions.columns)
    turns_by_state = [_turns_of_state(logits[:, columns], price[columns]) for columns in states]
    return np.concatenate(turns_by_state)


def _turns_of_state(logits: _Values, price: _Values) -> _Values:
    """Finds every bias at which an example's route changes, largest first; twins are kept.

    The routes that some bias reaches are the corners of the example's upper concave hull of (cost,
    logit), and its slopes are the turning biases: at most K - 1 an example.
    """
    everyone = np.arange(len(logits))
    cheapest = price == price.min()
    now = np.where(cheapest, logits, -np.inf).argmax(axis=1)
    turns = []
    for _ in range(len(price) - 1):
        added = price - price[now][:, None]
        gain = logits - logits[everyone, now][:, None]
        slope = np.divide(gain, added, out=np.full_like(gain, -np.inf), where=added > 0)
        best = slope.max(axis=1)
        # Of experts on one line the dearest: the others win nowhere but at the turn itself.
        steepest = slope >= best[:, None] - 1e-12 * np.abs(best)[:, None]
        step = np.where(steepest & (added > 0), price, -np.inf).argmax(axis=1)
        moving = np.isfinite(best)
        turns.append(best[moving])
        now = np.where(moving, step, now)
    return np.sort(np.concatenate(turns))[::-1] if turns else np.empty(0)


def spread_biases(
    logits: Sequence[_Values],
    vector: CostVector,
    *,
    count: int = BIASES,
    decisions: Decisions | None = None,
) -> _Values:
    """Spreads at most `count` rising biases from all-cheapest to all-dearest, 0 among them.

    `logits` are those of the trials that share the biases (the seeds of a point), each (N, K).
    Between two neighbours about as many routes change everywhere. Biases lie halfway between
    turning ones, so rounding decides no route.

    Raises:
        ValueError: fewer than 3 biases are asked for, or no logits are given.
    """
    if count < 3 or not logits:
        raise ValueError(f"{count} biases for {len(logits)} trials; need at least 3, and 1 trial")
    turns = np.unique(_turning_biases(np.concatenate(logits), vector, decisions))
    if not len(turns):
        return np.zeros(1)
    room = 0.01 * max(float(turns[-1] - turns[0]), abs(float(turns[-1])), 1e-9)
    between = np.concatenate([[turns[0] - room], (turns[:-1] + turns[1:]) / 2, [turns[-1] + room]])
    places = np.linspace(0, len(between) - 1, min(count - 1, len(between))).round().astype(int)
    return np.unique(np.append(between[places], 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasCurve:
    """Holds scores and costs of a router, or the mean of several, under each of its biases."""

    biases: _Values
    """(G,) rising: cheaper and cheaper."""

    costs: _Values
    """(G,), the router paid."""

    scores: _Values
    """(G,)."""

    shares: _Values
    """(G, K)."""

    low_is_better: bool = False
    """Whether a low score is the better one."""

    @property
    def merits(self) -> _Values:
        """Gives the scores so that high is better, (G,)."""
        return 0.0 - self.scores if self.low_is_better else self.scores

    def within(self, cost: float) -> int | None:
        """Gives the number of the best-scoring bias that costs at most this.

        Of equals it is the cheapest.
        """
        return best_within(self.merits, self.costs, cap=cost)


def bias_curve(
    task: Task,
    logits: _Values,
    predictions: _Values,
    labels: _Values,
    *,
    vector: CostVector,
    biases: _Values,
    decisions: Decisions | None = None,
) -> BiasCurve:
    """Measures one router under every bias.

    `logits` are (N, K), `predictions` the experts' (K, N), `labels` (N,) and `biases` (G,). Where
    the routes are paths, `decisions` say how logits (N, M) become routes, `predictions` are the
    paths', and `vector` is that of the paths.

    At bias 0 score and cost are those of the trial. To be honest about a bias, choose it on
    selection and take its score from another split's curve over the same biases.

    Raises:
        ValueError: the arrays are not of the same examples and experts.
    """
    shape = (len(vector.routed), len(logits))
    if predictions.shape != shape or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits {logits.shape}, predictions {predictions.shape} and labels {labels.shape} do "
            "not match; need (examples, experts), (experts, examples) and (examples,)"
        )
    biases = np.sort(np.asarray(biases, np.float64))
    routes = route(logits, vector, biases, decisions)
    shares, scores = shares_and_scores(task, routes, predictions, labels)
    return BiasCurve(
        biases=biases,
        costs=vector.of_routes(routes).mean(axis=1),
        scores=scores,
        shares=shares,
        low_is_better=task.direction == "min",
    )


def mean_curve(curves: Sequence[BiasCurve]) -> BiasCurve:
    """Averages the seeds of a point, bias by bias: what a seed of it has on average.

    Raises:
        ValueError: no curve, or curves over different biases.
    """
    if not curves or any(not np.array_equal(one.biases, curves[0].biases) for one in curves):
        raise ValueError(
            f"{len(curves)} curves to average; need at least one, all over the same biases "
            "(`spread_biases` of all their logits)"
        )
    return BiasCurve(
        biases=curves[0].biases,
        costs=np.mean([one.costs for one in curves], axis=0),
        scores=np.mean([one.scores for one in curves], axis=0),
        shares=np.mean([one.shares for one in curves], axis=0),
        low_is_better=curves[0].low_is_better,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """Names a point of the front over all curves: which router, and with which bias."""

    curve: int
    """Number of its curve among those given."""

    bias: float
    chosen_score: float
    chosen_cost: float
    """On the split it was chosen on."""

    score: float
    cost: float
    """Of the same router and bias on the quoted split."""

    breaks: str = ""
    """Names of the study's constraints that it breaks where it was chosen."""


def curve_front(
    chosen: Sequence[BiasCurve],
    quoted: Sequence[BiasCurve] | None = None,
    *,
    breaks: Sequence[Sequence[str]] | None = None,
) -> tuple[Operating, ...]:
    """Gives the front over all biases of all curves, cheapest first.

    It is chosen on one split and quoted on another.

    `breaks` are the names of the constraints that each curve breaks under each bias. Where some
    break none, the front holds those alone.

    `chosen` are the curves on selection, `quoted` the same routers' over the same biases on another
    split (default: the same, which flatters).

    Raises:
        ValueError: curves that do not belong together.
    """
    from analysis.stats.dominance import nondominated

    quoted = chosen if quoted is None else quoted
    if not chosen or len(chosen) != len(quoted):
        raise ValueError(f"{len(chosen)} curves chosen on and {len(quoted)} quoted; need one each")
    for number, (chosen_curve, quoted_curve) in enumerate(zip(chosen, quoted, strict=True)):
        if not np.array_equal(chosen_curve.biases, quoted_curve.biases):
            raise ValueError(f"curve {number} has other biases on the two splits; use the same")
    places = [(c, g) for c, curve in enumerate(chosen) for g in range(len(curve.biases))]
    merits = np.concatenate([curve.merits for curve in chosen])
    costs = np.concatenate([curve.costs for curve in chosen])
    broken = [""] * len(places) if breaks is None else [breaks[c][g] for c, g in places]
    may = np.asarray([not names for names in broken])
    eligible = np.flatnonzero(may if may.any() else ~may)
    kept = eligible[nondominated(merits[eligible], costs[eligible])]
    ordered = kept[np.argsort(costs[kept])]
    return tuple(_operating(chosen, quoted, places[place], broken[place]) for place in ordered)


def _operating(
    chosen: Sequence[BiasCurve],
    quoted: Sequence[BiasCurve],
    where: tuple[int, int],
    breaks: str,
) -> Operating:
    curve, place = where
    chosen_curve, quoted_curve = chosen[curve], quoted[curve]
    return Operating(
        curve=curve,
        bias=float(chosen_curve.biases[place]),
        chosen_score=float(chosen_curve.scores[place]),
        chosen_cost=float(chosen_curve.costs[place]),
        score=float(quoted_curve.scores[place]),
        cost=float(quoted_curve.costs[place]),
        breaks=breaks,
    )
