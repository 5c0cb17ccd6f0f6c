"""Cascades run a cheap expert, then a dearer one where it is not sure, and pay all that ran.

The baseline that every gate must beat: it needs no router and no training, only thresholds, which
are chosen on selection. Letters: K experts, N examples, C outputs, M experts of a chain,
T settings of its thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.costs import CostVector
from mpc_router.tasks import Task, merit, score_of

Values = NDArray[np.float64]

_LONGEST: Final = 3
"""Experts in a chain, at most."""

LEVELS: Final = 17
"""Thresholds tried at each stage, from never going on to always."""

_NEVER: Final = 0.0
_ALWAYS: Final = 2.0
"""Thresholds that no confidence lies under, and that all do."""


def confidence(output: Values) -> Values:
    """Gives the largest softmax probability, (.., C) -> (..): from 1 / C to 1.

    Raises:
        ValueError: one output, as a regression has: its value says nothing of how sure it is.
    """
    output = np.asarray(output, np.float64)
    if output.shape[-1] < 2:
        raise ValueError(
            f"an expert with {output.shape[-1]} output says nothing of how sure it is: a cascade "
            "needs classes, and a regression has none"
        )
    shifted = output - output.max(axis=-1, keepdims=True)
    return np.asarray(1 / np.exp(shifted).sum(axis=-1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """Names a chain of experts, cheapest first, and when to go on to the next."""

    chain: tuple[int, ...]
    """M experts; one alone is that single expert."""

    thresholds: tuple[float, ...]
    """M - 1: go on where the confidence lies under it."""

    def __post_init__(self) -> None:
        if not self.chain or len(self.thresholds) != len(self.chain) - 1:
            raise ValueError(
                f"a chain of {len(self.chain)} experts with {len(self.thresholds)} thresholds; "
                "need one threshold between two experts"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """Holds the costs, scores and shares of cascades on one split; a place is a cascade."""

    costs: Values
    """(T,) per example, all experts that ran paid, no router."""

    scores: Values
    """(T,)."""

    shares: Values
    """(T, K): by the expert whose answer was taken."""


def run_cascades(
    task: Task,
    cascades: Sequence[Cascade],
    predictions: Values,
    sure: Values,
    labels: Values,
    *,
    vector: CostVector,
) -> Ran:
    """Runs cascades on one split: predictions and confidences (K, N), labels (N,).

    Each expert that runs costs what it costs alone (`vector.experts`); the router's own cost and
    the stem play no part.

    Raises:
        ValueError: no cascade, or a chain names an expert that is not there.
    """
    highest = max((expert for one in cascades for expert in one.chain), default=-1)
    if not 0 <= highest < len(predictions) or len(predictions) != len(vector.experts):
        raise ValueError(
            f"{len(cascades)} cascades up to expert {highest} of {len(predictions)} experts, "
            f"{len(vector.experts)} of them in cost vector {vector.name!r}; these must match"
        )
    routes, costs = cascade_routes(cascades, sure, vector=vector)
    routed_predictions = np.take_along_axis(predictions, routes, axis=0)
    shares = [(routes == expert).mean(axis=1) for expert in range(len(predictions))]
    return Ran(
        costs=costs.mean(axis=1),
        scores=score_of(task, routed_predictions, labels),
        shares=np.stack(shares, axis=-1),
    )


def cascade_routes(
    cascades: Sequence[Cascade], sure: Values, *, vector: CostVector
) -> tuple[NDArray[np.intp], Values]:
    """Gives whose answer each cascade takes and what it pays, both (T, N).

    `sure` are the experts' confidences (K, N).
    """
    routes = np.empty((len(cascades), sure.shape[1]), np.intp)
    costs = np.empty(routes.shape)
    for place, one in enumerate(cascades):
        routes[place], costs[place] = one.chain[0], vector.experts[one.chain[0]]
        going = np.ones(sure.shape[1], np.bool_)
        for before, threshold, after in zip(one.chain, one.thresholds, one.chain[1:], strict=False):
            going &= sure[before] < threshold
            routes[place][going] = after
            costs[place][going] += vector.experts[after]
    return routes, costs


def candidates(
    sure: Values, *, vector: CostVector, levels: int = LEVELS, longest: int = _LONGEST
) -> tuple[Cascade, ...]:
    """Lists chains of experts from cheap to dear, with thresholds at quantiles of confidences.

    `sure` (K, N) are the confidences on the split that the choice is made on. A chain of two has
    `levels` thresholds and one of three their square, from never going on to always; chains of
    one are the single experts. Equal cascades stand there once.

    Raises:
        ValueError: fewer than 2 levels, or chains of none.
    """
    if levels < 2 or longest < 1:
        raise ValueError(f"{levels} levels and chains of {longest}; need at least 2 and 1")
    shares = np.linspace(0, 1, levels)[1:-1]
    stages = [
        sorted({_NEVER, _ALWAYS, *np.quantile(row, shares).tolist()})
        if len(shares)
        else [_NEVER, _ALWAYS]
        for row in sure
    ]
    order = np.argsort(vector.experts, kind="stable").tolist()
    cascades = [
        Cascade(chain=chain, thresholds=thresholds)
        for length in range(1, min(longest, len(order)) + 1)
        for chain in combinations(order, length)
        for thresholds in product(*(stages[expert] for expert in chain[:-1]))
    ]
    return tuple(dict.fromkeys(cascades))


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeFront:
    """Holds cascades that none beats on the split of the choice, cheapest first there."""

    cascades: tuple[Cascade, ...]
    chosen: Ran
    quoted: Ran
    """The same cascades on the quoted split."""


def cascade_front(
    task: Task,
    cascades: Sequence[Cascade],
    chosen_on: tuple[Values, Values, Values],
    quoted_on: tuple[Values, Values, Values],
    *,
    vector: CostVector,
) -> CascadeFront:
    """Finds the front of the cascades on one split, and measures it on another.

    A split is its (predictions (K, N), confidences (K, N), labels (N,)).
    """
    from analysis.stats.dominance import nondominated

    tried = run_cascades(task, cascades, *chosen_on, vector=vector)
    kept = np.flatnonzero(nondominated(merit(task, tried.scores), tried.costs))
    kept = kept[np.argsort(tried.costs[kept])]
    best = tuple(cascades[int(place)] for place in kept)
    return CascadeFront(
        cascades=best,
        chosen=Ran(costs=tried.costs[kept], scores=tried.scores[kept], shares=tried.shares[kept]),
        quoted=run_cascades(task, best, *quoted_on, vector=vector),
    )
