"""Measures points, and the yardsticks that each is compared with.

Letters: L trials, P points, N examples, B weightings, K experts and A alternatives of the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.baselines import yardsticks
from analysis.baselines.yardsticks import Curve, Mix
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run
from analysis.runs.outcomes import Outcomes, Point, Roster, recorded_scores, recorded_shares
from analysis.stats import resampling
from analysis.stats.choice import best_within
from mpc_router.costs import CostVector
from mpc_router.tasks import Task, score_of

_Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Yards:
    """Holds yardsticks of every pool of trained experts, and their means for pictures."""

    vector: CostVector
    """What they are priced by."""

    mixes: dict[tuple[int, tuple[int, ...]], Mix]
    """By pool, and the experts of it that some trials route between."""

    curves: dict[tuple[int, tuple[int, ...]], Curve]
    """The oracle curves of the same."""

    mix: Mix
    """Over all experts of a pool: the mean over pools."""

    singles: _Values
    """(K, B) of all experts of the run, each the mean over the pools that have it; NaN where no
    whole point's pool does, as in a run that has not ended."""

    oracle: tuple[float, float]
    curve: Curve

    @classmethod
    def of(
        cls, task: Task, seen: Outcomes, vector: CostVector, weights: resampling.Weights
    ) -> Yards:
        """Computes the yardsticks of the outcomes' pools under one vector."""
        mixes: dict[tuple[int, tuple[int, ...]], Mix] = {}
        curves: dict[tuple[int, tuple[int, ...]], Curve] = {}
        pool_keys, oracles = [], []
        count = len(vector.experts)
        singles, having = np.zeros((count, len(weights))), np.zeros(count)
        for number, pool in enumerate(seen.pools):
            pool_price = vector.of_members(pool.members)
            predictions = pool.prediction
            some = {seen.own[lane] for lane in np.flatnonzero(seen.pool_of == number)}
            for members in {pool.members, *some}:
                rows = [pool.members.index(member) for member in members]
                price = vector.of_members(members)
                mixes[number, members] = yardsticks.random_mix(
                    task, predictions[rows], seen.labels, vector=price, weights=weights
                )
                curves[number, members] = yardsticks.oracle_curve(
                    task, predictions[rows], seen.labels, vector=price
                )
            pool_keys.append((number, pool.members))
            oracles.append(
                yardsticks.oracle(task, predictions, pool.right, seen.labels, vector=pool_price)
            )
            rows = list(pool.members)
            singles[rows] += resampling.weighted_scores(task, predictions, seen.labels, weights)
            having[rows] += 1
        score, cost = np.mean(oracles, axis=0)
        return cls(
            vector=vector,
            mixes=mixes,
            curves=curves,
            mix=Mix.mean([mixes[key] for key in pool_keys]),
            singles=np.where(having > 0, singles.T / np.maximum(having, 1), np.nan).T,
            oracle=(float(score), float(cost)),
            curve=Curve.mean([curves[key] for key in pool_keys]),
        )

    def coin(
        self, members: tuple[Point, ...], paid: _Values, seen: Outcomes
    ) -> tuple[_Values, _Values]:
        """Gives what a coin over a point's own experts reaches: (P, B) and (L, B).

        `paid` (L, B) is the cost of each trial. The first is at the point's mean cost over the
        seeds there are, the second at each trial's own.

        Where replicates have experts of their own, the first is the mean over replicates.
        """
        mixes = [
            self.mixes[pool, members_of]
            for pool, members_of in zip(seen.pool_of.tolist(), seen.own, strict=True)
        ]
        if all(mix is mixes[0] for mix in mixes):
            return mixes[0].at(by_point(paid, members, None)), mixes[0].at(paid)
        rows, every, first = [], [], 0
        for point in members:
            lanes = slice(first, first + len(point.keys))
            first += len(point.keys)
            seed_mixes, costs = mixes[lanes], paid[lanes]
            if all(mix is seed_mixes[0] for mix in seed_mixes):
                every.append(seed_mixes[0].at(costs))
                rows.append(seed_mixes[0].at(costs.mean(axis=0)[None])[0])
                continue
            coins = np.stack(
                [mix.at(row[None])[0] for mix, row in zip(seed_mixes, costs, strict=True)]
            )
            every.append(coins)
            rows.append(coins.mean(axis=0))
        return np.asarray(rows), np.concatenate(every)

    def best(self, run: Run, run_roster: Roster, measured: Measured, seen: Outcomes) -> _Values:
        """Gives what the oracle of each point's experts and router reaches at its cost, (P,).

        Where replicates have experts of their own, the mean over replicates at each one's cost.
        """
        rows, first = [], 0
        for number, point in enumerate(run_roster.points):
            lanes = range(first, first + len(point.keys))
            first += len(point.keys)
            curves = [self.curves[int(seen.pool_of[lane]), seen.own[lane]] for lane in lanes]
            router = run.sets[run.set_of_point[point.point]].vectors[self.vector.name].router
            dearer = router - self.vector.router  # the curves pay the router of the run's vector
            if all(curve is curves[0] for curve in curves):
                rows.append(float(curves[0].at(measured.cost[number, 0] - dearer)))
                continue
            paid = measured.lane_cost[list(lanes), 0] - dearer
            alone = [float(curve.at(cost)) for curve, cost in zip(curves, paid, strict=True)]
            rows.append(float(np.mean(alone)))
        return np.asarray(rows, np.float64)


@dataclass(frozen=True, slots=True)
class Measured:
    """Holds means over replicates by weighting: score and cost (P, B), share (P, A)."""

    score: _Values
    cost: _Values
    share: _Values
    lane_score: _Values
    lane_cost: _Values
    """(L, B) of each trial under resampled examples."""

    @classmethod
    def of(
        cls,
        run: Run,
        run_roster: Roster,
        seen: Outcomes,
        vector: CostVector,
        seeds: dict[int, _Values],
        weights: resampling.Weights,
        *,
        costs: tuple[float, float] | None = None,
    ) -> Measured:
        """Scores trials exactly as the task's metrics do, then averages by point.

        What a route costs is what it costs in the trial's own set. Without routes, scores and
        shares are those that the trials recorded, the same under every weighting of examples. No
        draw leaves the score's range, or costs less than the cheapest route or more than the
        dearest; `costs` are these two where the roster is a part of another one.
        """
        task, choices = run.task, alternatives(run)
        if run.routed:
            score = resampling.weighted_scores(task, seen.predictions, seen.labels, weights)
            score[:, 0] = score_of(task, seen.predictions, seen.labels)
            shares = resampling.weighted_shares(seen.routes, len(choices.experts), weights)
        else:
            times = len(weights)
            score = recorded_scores(run, run_roster, seen.split)[:, None].repeat(times, axis=1)
            shares = recorded_shares(run, run_roster, seen.split)[:, None].repeat(times, axis=1)
        cost = np.empty(score.shape)
        for number in np.unique(seen.set_of):
            in_set = seen.set_of == number
            places, price = _price(run, int(number), vector)
            cost[in_set] = price.mean(shares[in_set][..., places])
        least, most = costs or cost_range(run, seen, vector)
        return cls(
            score=resampling.bounded(task, by_point(score, run_roster.points, seeds)),
            cost=np.clip(by_point(cost, run_roster.points, seeds), least, most),
            share=by_point(shares[:, 0], run_roster.points, None),
            lane_score=score,
            lane_cost=cost,
        )


def _price(run: Run, number: int, vector: CostVector) -> tuple[list[int], CostVector]:
    """Gives the alternatives of a prepared set by number, and what they cost there."""
    prepared_set = run.sets[number]
    places, paths = alternatives(run).within(prepared_set.members)
    return places, prepared_set.vectors[vector.name].on(paths)


def cost_range(run: Run, seen: Outcomes, vector: CostVector) -> tuple[float, float]:
    """Gives what the cheapest and the dearest route of the outcomes' sets cost an example."""
    prices = [_price(run, int(number), vector)[1] for number in np.unique(seen.set_of)]
    paid = [price.router + route for price in prices for route in price.routed]
    return min(paid), max(paid)


def part_of(
    run_roster: Roster, seen: Outcomes, numbers: NDArray[np.intp]
) -> tuple[Roster, Outcomes]:
    """Gives some of a roster's points, by their numbers (Q,), and their trials' outcomes.

    What is measured of a point depends on no other one where all points have one seed or all have
    several; see `alike`.
    """
    starts = np.cumsum([0, *(len(point.keys) for point in run_roster.points)])
    points = tuple(run_roster.points[number] for number in numbers)
    ranges = [np.arange(starts[number], starts[number + 1]) for number in numbers]
    lanes = np.concatenate(ranges) if ranges else np.empty(0, np.intp)
    routed = lanes[: len(seen.routes)]  # none where no routes were recorded
    return replace(run_roster, points=points), replace(
        seen,
        routes=seen.routes[routed],
        predictions=seen.predictions[routed],
        pool_of=seen.pool_of[lanes],
        set_of=seen.set_of[lanes],
        own=tuple(seen.own[lane] for lane in lanes),
    )


def alike(members: tuple[Point, ...]) -> bool:
    """Says whether all points have one seed, or all have several.

    Else those with one take the spread between seeds of the others; see `by_point`.
    """
    return len({len(point.keys) > 1 for point in members}) < 2


def by_point(
    values: _Values,
    members: tuple[Point, ...],
    seeds: dict[int, _Values] | None,
    centre: _Values | None = None,
) -> _Values:
    """Averages over each point's trials: (L, B) -> (P, B), like `resampling.over_seeds`.

    Plain means where no leans are given. `centre` (P, B): see there. One seed says nothing of
    others: a point with one takes the spread between seeds of the points that have more (pooled).
    """
    if len(values) == len(members):  # each has one seed: the same sums as below, all at once
        means = values if centre is None else centre
        return values.copy() if seeds is None else np.asarray(means + 0.0 * seeds[1][:, 0])
    rows, first = [], 0
    spread = 0.0 if seeds is None else _pooled_spread(values, members)
    for number, point in enumerate(members):
        replicates = values[first : first + len(point.keys)]
        first += len(point.keys)
        if seeds is None:
            rows.append(replicates.mean(axis=0))
        else:
            middle = None if centre is None else centre[number]
            leans = seeds[len(point.keys)]
            drawn = resampling.over_seeds(replicates, leans, middle)
            rows.append(drawn + spread * leans[:, 0] if len(replicates) == 1 else drawn)
    return np.asarray(rows)


def _pooled_spread(values: _Values, members: tuple[Point, ...]) -> float:
    """Gives the standard deviation between a point's seeds, pooled over points with several.

    It is 0 where they differ by no more than examples explain, as in `resampling.over_seeds`.
    """
    ends = np.cumsum([len(point.keys) for point in members])[:-1]
    several = [lanes for lanes in np.split(values, ends) if len(lanes) > 1]
    if not several or len(several) == len(members):  # then no point has one seed, or all have
        return 0.0
    apart = np.concatenate([lanes - lanes.mean(axis=0) for lanes in several])
    free = len(apart) - len(several)
    between = float(np.square(apart[:, 0]).sum()) / free
    chance = float(np.square(apart[:, 1:] - apart[:, :1]).sum(axis=0).mean()) / free
    return float(np.sqrt(between)) if between > chance else 0.0


def by_excess(values: _Values, members: tuple[Point, ...]) -> _Values:
    """Gives `resampling.seed_excess` of each point's trials (L, B): (P,)."""
    ends = np.cumsum([len(point.keys) for point in members])[:-1]
    return np.asarray([resampling.seed_excess(replicates) for replicates in np.split(values, ends)])


def best_keys(run_roster: Roster, merits: _Values, costs: _Values) -> list[str]:
    """Gives each point's trial of the highest merit, of equals the cheapest: (L,) twice -> P keys.

    It is the one to run.
    """
    keys, first = [], 0
    for point in run_roster.points:
        lanes = slice(first, first + len(point.keys))
        first += len(point.keys)
        best = best_within(merits[lanes], costs[lanes], cap=math.inf)
        assert best is not None  # a point of a roster has a trial
        keys.append(point.keys[best])
    return keys


def example_draws(
    run: Run, seen: Outcomes, count: int, seed: int, stream: int
) -> resampling.Weights:
    """Draws (1 + count, N) resamples; without routes each is the sample as it is."""
    if not run.routed:
        return np.ones((1 + count, len(seen.labels)), np.float32)
    return resampling.stream_weights(len(seen.labels), count, seed, stream)


def seed_draws(run_roster: Roster, count: int, seed: int) -> dict[int, _Values]:
    """Draws the same leans for every point with equally many seeds, by that number."""
    rng = np.random.default_rng([seed, 1])
    sizes = sorted({len(point.seeds) for point in run_roster.points})
    leans = {size: resampling.seed_leans(size, count, rng) for size in sizes}
    if 1 in leans:
        leans[1] = lone_leans(run_roster, count, np.random.default_rng([seed, 1, 1]))
    return leans


def lone_leans(run_roster: Roster, count: int, rng: np.random.Generator) -> _Values:
    """Draws how many pooled deviations points with one seed move: (1 + count, 1).

    Student's t with the degrees of freedom of the points that have several; 0 without such points.
    """
    leans = np.zeros((1 + count, 1))
    free = sum(len(point.seeds) - 1 for point in run_roster.points)
    if free:
        leans[1:, 0] = rng.standard_t(free, size=count)
    return leans
