"""Says whether there is anything to route, and whether selection looks like the quoted split.

Letters: K experts, B weightings of the examples, of which the first is the sample as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.yardsticks import majority, oracle_routes
from analysis.fronts.survey import Survey
from analysis.runs.load import Run
from analysis.runs.outcomes import Outcomes, outcomes, roster
from analysis.stats.resampling import Weights, interval, stream_weights, weighted_scores
from mpc_router.costs import CostVector
from mpc_router.run_names import SELECTION
from mpc_router.tasks import Task, merit

_Values = NDArray[np.float64]

LEVEL: Final = 0.01
"""Of the test whether splits are alike: two draws of one population fail it as seldom as that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Holds what the experts alone say about a run, whatever its routers do."""

    unlearned: bool
    """Whether no expert beats the majority class (a regression: the median label)."""

    enough: int | None
    """The cheapest expert than which the oracle is no better; None where it is better than all."""

    selection_score: tuple[float, ...]
    """(K,)"""

    score: tuple[float, ...]
    """(K,) on the quoted split."""

    p: tuple[float, ...]
    """(K,) how often chance alone sets the two scores so far apart, times K; see `_alike`."""

    @property
    def nothing_to_route(self) -> bool:
        """Says whether no router can be worth having."""
        return self.unlearned or self.enough is not None

    @property
    def unlike(self) -> tuple[int, ...]:
        """Names the experts whose scores differ between the splits by more than chance."""
        return tuple(expert for expert, p in enumerate(self.p) if p < LEVEL)


def _none_beats(merits: _Values, constant: _Values) -> bool:
    """Says whether no expert beats an answer given without looking: merits (K, B), constant (B,).

    An expert beats it where the 95 % interval of its lead lies above 0, both under the same draws.
    """
    low, _ = interval(merits - constant)
    return not bool((low > 0).any())


def _as_good(
    merits: _Values, costs: Sequence[float], best: _Values, best_cost: float
) -> int | None:
    """Finds the cheapest expert than which the oracle is no better, neither in score nor in cost.

    merits (K, B), costs (K,), best (B,) of the oracle. Its score is no better where the 95 %
    interval of its lead reaches 0, its cost where the expert's is no higher. None where there is
    no such expert.
    """
    low, _ = interval(best - merits)
    prices = np.asarray(costs, np.float64)
    good = np.flatnonzero((low <= 0) & (prices <= best_cost))
    return int(good[prices[good].argmin()]) if len(good) else None


def _alike(selection: _Values, quoted: _Values) -> _Values:
    """Tests whether experts score alike on two splits: draws (K, B) of each give p (K,).

    z = (s - t) / sqrt(var s + var t), with variances over the draws, is normal where both splits
    are samples of one population: for accuracy the test of two proportions, unpooled. A p is
    two-sided and multiplied by K (Bonferroni), so that all experts together keep the level.
    """
    apart = selection[:, 0] - quoted[:, 0]
    if selection.shape[1] < 3 or quoted.shape[1] < 3:
        return np.ones(len(apart))  # without draws nothing is known of chance
    spread = np.sqrt(selection[:, 1:].var(axis=1, ddof=1) + quoted[:, 1:].var(axis=1, ddof=1))
    z = np.divide(apart, spread, out=np.zeros(len(apart)), where=spread > 0)
    p = np.asarray([math.erfc(abs(each) / math.sqrt(2)) for each in z])
    return np.asarray(np.minimum(1, len(p) * p))


def verdicts(run: Run, survey: Survey) -> Verdicts:
    """Judges the experts of a run on selection and on the survey's split, under its vector.

    Where experts of one name differ (several `expert_seed`, joint training), an expert's score and
    the oracle's are means over all of them. Without resamples nothing is said against a run.

    Raises:
        RunError: a table lacks rows.
    """
    return _judged(run, survey.split, survey.vector, survey.resamples)


@lru_cache(maxsize=4)
def _judged(run: Run, split: str, vector: CostVector, resamples: int) -> Verdicts:
    run_roster, task, experts = roster(run), run.task, len(run.expert_names)
    chosen = outcomes(run, run_roster, SELECTION, need_routes=False)
    quoted = outcomes(run, run_roster, split, need_routes=False)
    weights = _weights(quoted, resamples, 3)
    on_selection = _scores(task, chosen, experts, _weights(chosen, resamples, 2))
    on_quoted = _scores(task, quoted, experts, weights)
    p = _alike(on_selection, on_quoted) if split != SELECTION else np.ones(experts)
    scores = {"selection_score": on_selection[:, 0], "score": on_quoted[:, 0], "p": p}
    plain = {name: tuple(values.tolist()) for name, values in scores.items()}
    if not resamples:
        return Verdicts(unlearned=False, enough=None, **plain)
    merits = merit(task, on_quoted)
    label = majority(task, chosen.labels, quoted.labels)[0]
    answers = np.full((1, len(quoted.labels)), label)
    blind = np.nan_to_num(weighted_scores(task, answers, quoted.labels, weights)[0])
    best, best_cost = _oracle(task, quoted, vector, weights)
    return Verdicts(
        unlearned=_none_beats(merits, merit(task, blind)),
        enough=_as_good(merits, vector.experts, merit(task, best), best_cost),
        **plain,
    )


def _weights(seen: Outcomes, resamples: int, stream: int) -> Weights:
    """Draws the examples that the survey draws too, and also where no route was recorded."""
    return stream_weights(len(seen.labels), resamples, 0, stream)


def _scores(task: Task, seen: Outcomes, experts: int, weights: Weights) -> _Values:
    """Gives scores by expert and weighting, (K, B), means over the pools that have the expert.

    NaN of an expert that no trial had.
    """
    total, pools = np.zeros((experts, len(weights))), np.zeros((experts, 1))
    for pool in seen.pools:
        members = list(pool.members)
        total[members] += weighted_scores(task, pool.prediction, seen.labels, weights)
        pools[members] += 1
    return np.divide(total, pools, out=np.full_like(total, np.nan), where=pools > 0)


def _oracle(
    task: Task, quoted: Outcomes, vector: CostVector, weights: Weights
) -> tuple[_Values, float]:
    """Gives the oracle's score by weighting, (B,), and its cost, means over pools."""
    scores, costs = [], []
    for pool in quoted.pools:
        prices = vector.of_members(pool.members)
        routes = oracle_routes(pool.right, prices)
        answers = np.take_along_axis(pool.prediction, routes[None], axis=0)
        scores.append(weighted_scores(task, answers, quoted.labels, weights)[0])
        costs.append(float(prices.of_routes(routes).mean()))
    return np.mean(scores, axis=0), float(np.mean(costs))
