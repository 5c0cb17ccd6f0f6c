"""Quotes routers under biases, all over the same draws of examples and seeds.

Letters: N examples, B weightings, L trials of a point, K experts, P paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.bias_curves import route
from analysis.baselines.yardsticks import Mix, random_mix
from analysis.fronts.points import example_draws
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run
from analysis.runs.outcomes import ExpertSet, Outcomes, Point, outcomes, roster
from analysis.runs.recorded import answers, expert_outputs, router_logits
from analysis.stats.resampling import Weights, resamples_for, weighted_scores

Values = NDArray[np.float64]

_STREAM: Final = 3
"""Of the examples' draws: the one that surveys quote with, so that both see the same examples."""


ROUTER_SEEDS: Final = 3
EXPERT_SEEDS: Final = 4
"""Streams of draws of seeds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quote:
    """Holds what a point reaches under a bias, and a coin of its cost, by draw, (B,) each."""

    score: Values
    cost: Values
    coin: Values

    @classmethod
    def mean(cls, quotes: Sequence[Quote], stream: int) -> Quote:
        """Gives the mean of quotes with several seeds; see `mean_over_seeds`."""
        return cls(
            score=mean_over_seeds([quote.score for quote in quotes], stream),
            cost=mean_over_seeds([quote.cost for quote in quotes], stream),
            coin=mean_over_seeds([quote.coin for quote in quotes], stream),
        )


def mean_over_seeds(values: Sequence[Values], stream: int) -> Values:
    """Gives the mean (B,) of a number over seeds, which are drawn with the examples.

    `values` are S arrays (B,), a seed's each; the first draw takes every seed once. `stream` is
    `ROUTER_SEEDS` or `EXPERT_SEEDS`: equally many seeds of a stream are drawn alike.
    """
    by_seed = np.stack(values)
    count, draws = by_seed.shape
    drawn = np.random.default_rng([count, stream]).integers(count, size=(count, draws))
    drawn[:, 0] = np.arange(count)
    return np.asarray(by_seed[drawn, np.arange(draws)].mean(axis=0), np.float64)


class Quotes:
    """Quotes the points of a run; `weights` (B, N) are its draws of examples."""

    seen: Outcomes
    weights: Weights

    def __init__(self, run: Run, split: str, vector: str) -> None:
        self._run, self._split, self._vector = run, split, vector
        run_roster = roster(run)
        self.seen = outcomes(run, run_roster, split)
        self.weights = example_draws(run, self.seen, resamples_for(run.task), 0, _STREAM)
        trials = run.trials
        keys = trials["key"].astype(str)
        self._experts = dict(zip(keys, trials["experts_id"].astype(str), strict=True))
        self._pools = dict(zip(run_roster.keys, self.seen.pool_of.tolist(), strict=True))
        self._mixes: dict[int, Mix] = {}
        self._logits = router_logits(run, list(run_roster.keys), split)
        self._predictions: dict[tuple[str, str], Values] = {}

    def pools(self, point: Point) -> set[int]:
        """Gives the pools of trained experts that a point's trials are held against."""
        return {self._pools[key] for key in point.keys}

    def quote(self, point: Point, bias: float) -> Quote:
        """Quotes the mean of a point's seeds: seeds are drawn with the examples."""
        lanes = [self._lane(point, key, bias) for key in point.keys]
        return Quote.mean(lanes, ROUTER_SEEDS)

    def _lane(self, point: Point, key: str, bias: float) -> Quote:
        """Quotes one trial."""
        run, choices = self._run, alternatives(self._run)
        prices = run.sets[run.set_of_point[point.point]].vectors[self._vector]
        price = choices.own_price(key, prices)
        routes = route(self._logits[key], price, np.array([bias]), choices.decisions(key))
        predictions = np.take_along_axis(self._answers(key), routes, axis=0)
        score = weighted_scores(run.task, predictions, self.seen.labels, self.weights)[0]
        total = self.weights.sum(axis=1, dtype=np.float64)
        cost = np.asarray(self.weights @ price.of_routes(routes)[0] / total, np.float64)
        return Quote(score=score, cost=cost, coin=self.mix(self._pools[key]).at(cost[None])[0])

    def _answers(self, key: str) -> Values:
        """Gives what a trial's routes answer, (P, N); equal paths are read once."""
        paths = alternatives(self._run).paths.get(key)
        place = self._experts[key], "" if paths is None else paths.name
        if place not in self._predictions:
            spoken = expert_outputs(self._run, self._experts[key], self._split)
            if paths is not None:
                spoken = answers(spoken, paths, regression=self._run.task.regression)
            self._predictions[place] = spoken.prediction
        return self._predictions[place]

    def mix(self, number: int) -> Mix:
        """Gives the coin over a pool's experts."""
        if number not in self._mixes:
            pool: ExpertSet = self.seen.pools[number]
            vector = self._run.cost_vector(self._vector).of_members(pool.members)
            self._mixes[number] = random_mix(
                self._run.task,
                pool.prediction,
                self.seen.labels,
                vector=vector,
                weights=self.weights,
            )
        return self._mixes[number]
