"""Says which kind of routers is best at which cost, and by how much, with intervals.

A kind is what a router is, what it learns from and what its answers are made of. At each stated
cost the best point and bias of every kind is chosen on selection, by the mean of its seeds, and
quoted on another split: its score, its lead over a coin of the same cost, and its lead over the
best gated router there. Intervals are over examples and seeds, the same draws for all.

Letters: N examples, B weightings, L trials of a point, K experts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.bias_curves import route
from analysis.baselines.yardsticks import Mix, random_mix
from analysis.fronts.points import example_draws
from analysis.questions.operating_points import Curves, bias_curves
from analysis.questions.worth import stated_costs
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import ExpertSet, Point, outcomes, roster
from analysis.runs.recorded import answers, expert_outputs, router_logits
from analysis.stats.choice import best_within
from analysis.stats.resampling import interval, resamples_for, weighted_scores
from mpc_router.run_names import TRAIN
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

GATED: Final = "gated"
_LAST: Final = "last"
_STREAM: Final = 3
"""Of the examples' draws: the one that surveys quote with, so that both see the same examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Names what a router is: all three are settings of its trial."""

    router_kind: str
    combine: str
    router_data: str

    @property
    def words(self) -> str:
        """Gives the kind in words: what is usual is not said."""
        parts = [self.router_kind]
        parts += [f"combine={self.combine}"] if self.combine != _LAST else []
        parts += [f"on {self.router_data}"] if self.router_data != TRAIN else []
        return ", ".join(parts)


def kind_of(config: Mapping[str, Any]) -> Kind:
    """Gives the kind of a trial's configuration, whose settings lie in sections."""
    model, data = config.get("model", {}), config.get("data", {})
    return Kind(
        router_kind=str(model.get("router_kind", GATED)),
        combine=str(model.get("combine", _LAST)),
        router_data=str(data.get("router_data", TRAIN)),
    )


def kinds_of(run: Run) -> tuple[Kind, ...]:
    """Gives the kinds of a run's trials, in the order of the trials."""
    configs = run.trials["config"].astype(str)
    return tuple(dict.fromkeys(kind_of(json.loads(config)) for config in configs))


def kinds(
    run: Run,
    *,
    costs: Sequence[float] | None = None,
    split: str | None = None,
    vector: str | None = None,
) -> pd.DataFrame:
    """Compares the run's kinds at stated costs; a row is a kind at a cost.

    Columns: `kind` in words, `router_kind`, `combine`, `router_data`, `cap` (the stated cost),
    `point`, `bias`, `selection_score`, and with `_low` and `_high` (95 %): `score`, `cost`,
    `over_coin` and `over_gated` (how much better than the best gated router at that cost; NaN where
    there is none). `best` marks the kind that selection picks at a cost.

    Raises:
        RunError: the run has no routes, or a table lacks rows.
    """
    import pandas as pd

    if not run.routed:
        raise RunError(f"{run.name}: no routing table, so kinds of routers cannot be compared")
    curves = bias_curves(run, split=split, vector=vector)
    reader = _Reader(run, run.split(split), run.cost_vector(vector).name)
    if costs is None:
        prices = run.cost_vector(vector).experts
        costs = stated_costs(min(prices), max(prices))
    members: dict[Kind, list[int]] = {}
    for place, point in enumerate(curves.points):
        members.setdefault(reader.kind(point.keys[0]), []).append(place)
    rows = [row for cap in costs for row in _rows(run, curves, reader, members, cap)]
    return pd.DataFrame(rows)


def _rows(
    run: Run, curves: Curves, reader: _Reader, members: Mapping[Kind, list[int]], cap: float
) -> list[dict[str, Any]]:
    """Gives the rows of a cost: the best of each kind that keeps to it on selection."""
    chosen: dict[Kind, tuple[int, int]] = {}
    for kind, places in members.items():
        if (best := _best(curves, places, cap)) is not None:
            chosen[kind] = best
    if not chosen:
        return []
    merits = {  # of equal ones the cheapest
        kind: (curves.chosen[place].merits[bias], -curves.chosen[place].costs[bias])
        for kind, (place, bias) in chosen.items()
    }
    quotes = {
        kind: reader.quote(curves.points[place], float(curves.chosen[place].biases[bias]))
        for kind, (place, bias) in chosen.items()
    }
    gated = [kind for kind in chosen if kind.router_kind == GATED]
    rival = np.full(1, np.nan)
    if gated:
        rival = merit(run.task, quotes[max(gated, key=merits.__getitem__)].score)
    winner = max(chosen, key=merits.__getitem__)
    rows = []
    for kind, (place, bias) in chosen.items():
        curve, quote = curves.chosen[place], quotes[kind]
        reached = merit(run.task, quote.score)
        rows.append(
            {
                "kind": kind.words,
                "router_kind": kind.router_kind,
                "combine": kind.combine,
                "router_data": kind.router_data,
                "cap": cap,
                "point": curves.points[place].point,
                "bias": float(curve.biases[bias]),
                "selection_score": float(curve.scores[bias]),
                **_spread("score", quote.score),
                **_spread("cost", quote.cost),
                **_spread("over_coin", reached - merit(run.task, quote.coin)),
                **_spread("over_gated", reached - rival),
                "best": kind == winner,
            }
        )
    return rows


def _spread(name: str, draws: Values) -> dict[str, float]:
    low, high = interval(draws)
    return {name: float(draws[0]), f"{name}_low": float(low), f"{name}_high": float(high)}


def _best(curves: Curves, places: Sequence[int], cap: float) -> tuple[int, int] | None:
    """Finds the (point, bias) of the best score on selection for at most a cost."""
    cells = [
        (place, bias)
        for place in places
        for bias in range(len(curves.chosen[place].biases))
        if not curves.breaks[place][bias]
    ]
    if not cells:
        return None
    merits = np.array([curves.chosen[place].merits[bias] for place, bias in cells])
    paid = np.array([curves.chosen[place].costs[bias] for place, bias in cells])
    place = best_within(merits, paid, cap=cap)
    return None if place is None else cells[place]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Quote:
    """Holds what a point reaches under a bias, and a coin of its cost, by draw, (B,) each."""

    score: Values
    cost: Values
    coin: Values


class _Reader:
    """Quotes points under biases, all over the same draws of examples and seeds."""

    def __init__(self, run: Run, split: str, vector: str) -> None:
        self._run, self._split, self._vector = run, split, vector
        self._roster = roster(run)
        self._seen = outcomes(run, self._roster, split)
        self._weights = example_draws(run, self._seen, resamples_for(run.task), 0, _STREAM)
        trials = run.trials
        keys = trials["key"].astype(str)
        self._experts = dict(zip(keys, trials["experts_id"].astype(str), strict=True))
        self._configs = dict(zip(keys, trials["config"].astype(str), strict=True))
        self._pools = dict(zip(self._roster.keys, self._seen.pool_of.tolist(), strict=True))
        self._mixes: dict[int, Mix] = {}
        self._logits = router_logits(run, list(self._roster.keys), split)
        self._predictions: dict[tuple[str, str], Values] = {}

    def kind(self, key: str) -> Kind:
        """Gives the kind of a trial."""
        return kind_of(json.loads(self._configs[key]))

    def quote(self, point: Point, bias: float) -> _Quote:
        """Quotes the mean of a point's seeds: seeds are drawn with the examples."""
        lanes = [self._lane(point, key, bias) for key in point.keys]
        scores, costs, coins = (np.stack(values) for values in zip(*lanes, strict=True))
        count, draws = len(point.keys), len(self._weights)
        drawn = np.random.default_rng([count, _STREAM]).integers(count, size=(count, draws))
        drawn[:, 0] = np.arange(count)
        columns = np.arange(draws)
        return _Quote(
            score=scores[drawn, columns].mean(axis=0),
            cost=costs[drawn, columns].mean(axis=0),
            coin=coins[drawn, columns].mean(axis=0),
        )

    def _lane(self, point: Point, key: str, bias: float) -> tuple[Values, Values, Values]:
        """Gives score, cost and the coin's score of one trial by draw, (B,) each."""
        run, choices = self._run, alternatives(self._run)
        prices = run.sets[run.set_of_point[point.point]].vectors[self._vector]
        price = choices.own_price(key, prices)
        routes = route(self._logits[key], price, np.array([bias]), choices.decisions(key))
        predictions = np.take_along_axis(self._answers(key), routes, axis=0)
        score = weighted_scores(run.task, predictions, self._seen.labels, self._weights)[0]
        total = self._weights.sum(axis=1, dtype=np.float64)
        cost = self._weights @ price.of_routes(routes)[0] / total
        mix = self._mix(self._pools[key])
        coin = np.array(
            [
                np.interp(paid, mix.costs, mix.scores[:, draw])
                for draw, paid in enumerate(cost.tolist())
            ]
        )
        return score, np.asarray(cost, np.float64), coin

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

    def _mix(self, number: int) -> Mix:
        """Gives the coin over a pool's experts."""
        if number not in self._mixes:
            pool: ExpertSet = self._seen.pools[number]
            vector = self._run.cost_vector(self._vector).of_members(pool.members)
            self._mixes[number] = random_mix(
                self._run.task,
                pool.prediction,
                self._seen.labels,
                vector=vector,
                weights=self._weights,
            )
        return self._mixes[number]
