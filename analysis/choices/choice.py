"""Chooses the router to run: a point, one of its seeds, and a bias.

A point and a bias are chosen on selection by the mean of the point's seeds, among what keeps the
study's constraints. Of its seeds runs one that keeps constraints and demand by itself there.
Letters: P points, G biases of a point, N examples, B weightings, K experts of the point's own set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.bias_curves import BiasCurve, route
from analysis.choices._demand import Demand, check_demands, named_point
from analysis.choices.operating_points import Curves, bias_curves, unbiased_curves
from analysis.fronts.constraints import constraints_of
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError
from analysis.runs.recorded import answers, examples, expert_outputs, router_logits
from analysis.stats.resampling import interval, resamples_for, stream_weights, weighted_scores
from mpc_router.costs import CostVector
from mpc_router.tasks import merit

_Values = NDArray[np.float64]

_STREAM: Final = 3
"""Of the examples' draws: the one that surveys quote with, so that both see the same examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Says what to run: a trial of the run and its bias, with what both reach together."""

    point: str
    label: str
    """The point's searched settings in words."""

    seed: int
    key: str
    """The trial's, whole."""

    bias: float
    """b in route = argmax(z - b c), in nats per unit of `vector`; 0 is the router as trained."""

    vector: CostVector
    """c, over the experts of the point's own set; costs below are in it."""

    split: str
    """The quoted one."""

    selection_score: float
    selection_cost: float
    score: float
    """Of this seed under its bias on the quoted split, as all numbers below are."""

    score_low: float
    """95 % interval over resamples of the split's examples; NaN in a run without routes."""

    score_high: float
    cost: float
    """The router paid."""

    cost_low: float
    cost_high: float
    selection_share: tuple[float, ...]
    """(K,) of the examples of selection by expert; by path where its routes are paths."""

    share: tuple[float, ...]
    """The same of the quoted split."""

    breaks: str = ""
    """The study's constraints that it breaks on selection: of a point that was named alone."""

    cap: float = math.inf
    """The most that was asked to be paid, which selection keeps and the quoted split may not."""


def choose(
    run: Run,
    *,
    at_most: float | None = None,
    reach: float | None = None,
    knee: bool = False,
    point: str | None = None,
    seed: int | None = None,
    vector: str | None = None,
    split: str | None = None,
) -> Choice:
    """Chooses a router and its bias on selection, and quotes it on another split.

    One demand is given: `at_most` a cost (the best score there), `reach` a score (the least cost),
    `knee` (where a little more cost stops buying much), or the name of a `point`, which runs
    without a bias, with one of its seeds or the best on selection. A run whose study keeps only
    routers of the front offers only these. `vector` names the cost vector
    (default: the study's), `split` the quoted one (default: the task's first). In a run without
    routes every bias is 0. Nothing that breaks a constraint of the study is chosen.

    Raises:
        RunError: (a ValueError) no router meets the demand, the run has no such point or seed, not
            exactly one demand is given, no point can be judged, or a table lacks rows.
    """
    check_demands(at_most, reach, knee, point, seed)
    name = run.split(split)
    if point is None:
        read_curves = bias_curves if run.routed else unbiased_curves
        curves = read_curves(run, split=name, vector=vector, kept=True)
        prices = run.cost_vector(vector)
        choice = pick(run, curves, at_most=at_most, reach=reach, split=name, vector=prices.name)
        if choice is None:
            raise RunError(_why_none(run, curves, at_most, reach, prices))
        return choice
    place = named_point(run, point, seed)
    curves = (
        bias_curves(run, split=name, vector=vector, biases=np.zeros(1))
        if run.routed
        else unbiased_curves(run, split=name, vector=vector)
    )
    keys = curves.points[place].keys
    if seed is not None:
        keys = (keys[curves.points[place].seeds.index(seed)],)
    vector = run.cost_vector(vector).name
    return _chosen(run, curves, (place, 0), keys, Demand(), split=name, vector=vector)


def pick(
    run: Run,
    curves: Curves,
    *,
    at_most: float | None = None,
    reach: float | None = None,
    split: str,
    vector: str,
) -> Choice | None:
    """Chooses from curves of this split and vector, as `choose` does; without a demand the knee.

    None where no router meets the demand.
    """
    demand = Demand(at_most=at_most, reach=None if reach is None else merit(run.task, reach))
    meeting = _meeting(curves, demand)
    chosen = demand.best(*_measures(curves, meeting))
    if chosen is None:
        return None
    keys = _seeds(curves, meeting[chosen], demand)
    return _chosen(run, curves, meeting[chosen], keys, demand, split=split, vector=vector)


def _on_selection(curves: Curves, keys: Sequence[str], place: int) -> tuple[_Values, _Values]:
    """Gives merits and costs of trials under one bias on selection."""
    of_keys = [curves.trials[key][0] for key in keys]
    return (
        np.asarray([curve.merits[place] for curve in of_keys]),
        np.asarray([curve.costs[place] for curve in of_keys]),
    )


def _seeds(curves: Curves, place: tuple[int, int], demand: Demand) -> tuple[str, ...]:
    """Gives the keys of a point's seeds that keep constraints and demand by themselves."""
    number, bias = place
    keys = curves.points[number].keys
    met = demand.met(*_on_selection(curves, keys, bias))
    return tuple(
        key
        for key, meets in zip(keys, met, strict=True)
        if meets and not curves.trial_breaks[key][bias]
    )


def _meeting(curves: Curves, demand: Demand) -> list[tuple[int, int]]:
    """Gives the (point, bias) pairs that can be chosen.

    The point keeps all constraints under the bias, and one of its seeds keeps them and meets the
    demand.
    """
    places: list[tuple[int, int]] = []
    for number, (point, breaks) in enumerate(zip(curves.points, curves.breaks, strict=True)):
        of_seeds = [curves.trials[key][0] for key in point.keys]
        merits = np.stack([curve.merits for curve in of_seeds])
        met = demand.met(merits, np.stack([curve.costs for curve in of_seeds]))
        met &= np.asarray([[not names for names in curves.trial_breaks[key]] for key in point.keys])
        able = met.any(axis=0) & np.asarray([not names for names in breaks])
        places += [(number, bias) for bias in np.flatnonzero(able).tolist()]
    return places


def _measures(curves: Curves, places: Sequence[tuple[int, int]]) -> tuple[_Values, _Values]:
    """Gives merits and costs on selection of points with biases, as means over seeds."""
    return (
        np.asarray([curves.chosen[number].merits[bias] for number, bias in places], np.float64),
        np.asarray([curves.chosen[number].costs[bias] for number, bias in places], np.float64),
    )


def _why_none(
    run: Run, curves: Curves, at_most: float | None, reach: float | None, vector: CostVector
) -> str:
    """Says why no router meets a demand, and which one would be met."""
    able = _meeting(curves, Demand())
    bounds = ", ".join(map(str, constraints_of(run)))
    if not able:
        return (
            f"{run.name}: no router keeps the study's constraints on selection ({bounds}); "
            "loosen them, or name a point"
        )
    if at_most is None and reach is None:
        return (
            f"{run.name}: the front has no knee (fewer than three points, or none above the line "
            "between its ends); ask for a cost, a score or a point"
        )
    kept = f" that keeps the study's constraints ({bounds})" if bounds else ""
    merits, costs = _measures(curves, able)
    seeds = [_on_selection(curves, _seeds(curves, place, Demand()), place[1]) for place in able]
    if at_most is not None:
        needed = np.maximum(costs, [of_seeds[1].min() for of_seeds in seeds])
        place = int(needed.argmin())
        return (
            f"{run.name}: no router{kept} costs at most {at_most:g} in {vector.name} on selection; "
            f"the cheapest is {_called(curves, able[place])}: ask for {_up(needed[place])} or more"
        )
    reached = np.minimum(merits, [of_seeds[0].max() for of_seeds in seeds])
    place = int(reached.argmax())
    low = run.task.direction == "min"
    least = -float(reached[place])  # of a merit, so that it is rounded down
    nearest = _up(least) if low else f"{-float(_up(least)):g}"
    return (
        f"{run.name}: no router{kept} reaches a score of {reach:g} on selection; the best is "
        f"{_called(curves, able[place])}: ask for {nearest} or {'more' if low else 'less'}"
    )


def _up(value: float) -> str:
    """Rounds up to five digits, so that a demand of it is met."""
    scale = 10.0 ** (5 - math.ceil(math.log10(abs(value)))) if value else 1.0
    return f"{math.ceil(value * scale - 1e-9) / scale:g}"


def _called(curves: Curves, place: tuple[int, int]) -> str:
    bias = float(curves.chosen[place[0]].biases[place[1]])
    return f"point {curves.points[place[0]].point} with bias {bias:.3g}"


def _chosen(
    run: Run,
    curves: Curves,
    place: tuple[int, int],
    keys: Sequence[str],
    demand: Demand,
    *,
    split: str,
    vector: str,
) -> Choice:
    """Takes the best of some seeds of a point under one bias, and quotes it."""
    number, bias = place
    key = keys[demand.best_seed(*_on_selection(curves, keys, bias))]
    point = curves.points[number]
    chosen, quoted_curve = curves.trials[key]
    price = run.sets[run.set_of_point[point.point]].vectors[vector]
    ends = _intervals(run, key, float(chosen.biases[bias]), price, split)
    return Choice(
        point=point.point,
        label=point.label,
        seed=point.seeds[point.keys.index(key)],
        key=key,
        bias=float(chosen.biases[bias]),
        vector=price,
        split=split,
        selection_score=float(chosen.scores[bias]),
        selection_cost=float(chosen.costs[bias]),
        score=float(quoted_curve.scores[bias]),
        cost=float(quoted_curve.costs[bias]),
        **ends,
        selection_share=_share(chosen, bias),
        share=_share(quoted_curve, bias),
        breaks=curves.trial_breaks[key][bias],
        cap=math.inf if demand.at_most is None else demand.at_most,
    )


def _share(curve: BiasCurve, place: int) -> tuple[float, ...]:
    return tuple(map(float, curve.shares[place]))


def _intervals(run: Run, key: str, bias: float, price: CostVector, split: str) -> dict[str, Any]:
    """Gives the ends of score's and cost's intervals over resamples of a split's examples."""
    names = ("score_low", "score_high", "cost_low", "cost_high")
    if not run.routed:
        return dict.fromkeys(names, math.nan)
    ids = dict(
        zip(run.trials["key"].astype(str), run.trials["experts_id"].astype(str), strict=True)
    )
    choices = alternatives(run)
    price = choices.own_price(key, price)
    logits = router_logits(run, [key], split)[key]
    routes = route(logits, price, np.asarray([bias]), choices.decisions(key))
    labels = examples(run, split).labels
    spoken = expert_outputs(run, ids[key], split)
    if key in choices.paths:
        spoken = answers(spoken, choices.paths[key], regression=run.task.regression)
    predictions = np.take_along_axis(spoken.prediction, routes, axis=0)
    weights = stream_weights(len(labels), resamples_for(run.task), 0, _STREAM)
    scores = weighted_scores(run.task, predictions, labels, weights)[0]
    costs = weights @ price.of_routes(routes)[0] / weights.sum(axis=1, dtype=np.float64)
    ends = (*interval(scores), *interval(costs))
    return {name: float(end) for name, end in zip(names, ends, strict=True)}
