"""Compares runs: fronts, hypervolumes with paired intervals, and the front of all.

Runs are compared where they were quoted on the same examples and priced alike (`match`).
Examples are then resampled together, and seeds where points have as many. Letters: F points of a
front, S seeds, B weightings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis.fronts._match import match
from analysis.fronts.constraints import bounds
from analysis.fronts.points import Measured, lone_leans
from analysis.fronts.survey import Survey, cheapest_first, survey
from analysis.runs.load import Run
from analysis.runs.outcomes import Roster, outcomes, roster
from analysis.stats import resampling
from analysis.stats.dominance import hypervolume, nondominated
from analysis.stats.resampling import interval
from mpc_router.tasks import Task, merit

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

_MOST_ORDERS: Final = 10_000
"""Permutations of seeds that are tried; where there are fewer, all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Holds a run in a comparison."""

    name: str
    hypervolume: float
    low: float
    high: float
    points: int
    front: int
    """Points of its own front."""

    merged: int
    """Points that it has on the front of all runs together."""

    share: float
    """Of the merged front's hypervolume, what it alone holds up; the rest is held by several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Says how two runs differ in hypervolume: the first's less the second's."""

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    """Of a permutation test over seeds; NaN with one seed."""

    least_p: float
    """The smallest that so few seeds can give."""

    @property
    def verdict(self) -> str:
        """Says which run is ahead, or that none is."""
        if self.low > 0:
            return f"{self.first} is ahead"
        if self.high < 0:
            return f"{self.second} is ahead"
        return "not distinguishable"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Holds runs side by side, quoted on one split under one cost vector."""

    split: str
    vector: str
    reference: tuple[float, float]
    """(score, cost) of every hypervolume here: the worst and the dearest of the runs' own."""

    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    merged: pd.DataFrame
    """The front of all points together, chosen on selection, cheapest first: run, point, label,
    score, cost with their intervals, over_mix, verdict, feasible, breaks. Points that break a
    constraint of their run's study are on it only where no run has others."""

    surveys: tuple[Survey, ...]
    paired: bool
    """Whether examples were resampled together; not so where the runs have other data."""

    notes: tuple[str, ...]
    """What differs between the runs and was let pass."""


def compare_runs(
    runs: Sequence[Run],
    *,
    split: str | None = None,
    vector: str | None = None,
    force: bool = False,
) -> Comparison:
    """Compares runs on the same examples under the same prices.

    `force` lets runs with other prices or other data pass, which is then noted; with other data
    nothing is paired, and intervals are those of unrelated runs.

    Raises:
        RunError: fewer than two runs, one of them twice, another task, other examples, other
            prices, or a run without a point that can be judged.
    """
    agreed = match(runs, split, vector, force=force)
    names = agreed.names
    surveys = [survey(run, split=split, vector=vector) for run in runs]
    task, references = runs[0].task, [taken.reference for taken in surveys]
    worst = min(merit(task, score) for score, _ in references), max(cost for _, cost in references)
    reference = merit(task, worst[0]), worst[1]
    seen = [
        _Seen.of(run, taken, stream=0 if agreed.paired else number)
        for number, (run, taken) in enumerate(zip(runs, surveys, strict=True))
    ]
    volumes = [front.volumes(worst) for front in seen]
    by_seed = [front.by_seed(worst) for front in seen]
    merged = _merged(task, names, surveys)
    return Comparison(
        split=surveys[0].split,
        vector=surveys[0].vector.name,
        reference=reference,
        sides=_sides(names, surveys, volumes, merged, worst),
        pairs=tuple(
            _pair(
                (names[one], names[two]), (volumes[one], volumes[two]), by_seed[one], by_seed[two]
            )
            for one, two in itertools.combinations(range(len(runs)), 2)
        ),
        merged=merged,
        surveys=tuple(surveys),
        paired=agreed.paired,
        notes=(*agreed.notes, *_own_notes(names, surveys)),
    )


def _own_notes(names: Sequence[str], surveys: Sequence[Survey]) -> list[str]:
    """Says what each run's own front is of, where points lack seeds or constraints differ."""
    notes = [
        f"{name}: the front is over {taken.partial}"
        for name, taken in zip(names, surveys, strict=True)
        if taken.partial
    ]
    notes += [
        f"{name}: no point keeps the study's constraints ({bounds(taken.judged.constraints)})"
        for name, taken in zip(names, surveys, strict=True)
        if taken.judged.none_feasible
    ]
    asked = {
        name: bounds(taken.judged.constraints) for name, taken in zip(names, surveys, strict=True)
    }
    if len(set(asked.values())) > 1:
        each_run = "; ".join(f"{name}: {text or 'none'}" for name, text in asked.items())
        notes.append(f"the runs' studies have different constraints ({each_run})")
    return notes


def _sides(
    names: Sequence[str],
    surveys: Sequence[Survey],
    volumes: Sequence[_Values],
    merged: pd.DataFrame,
    reference: tuple[float, float],
) -> tuple[Side, ...]:
    held = _held(surveys[0].task, merged, names, reference)
    sides = []
    for name, taken, volume in zip(names, surveys, volumes, strict=True):
        low, high = interval(volume)
        sides.append(
            Side(
                name=name,
                hypervolume=float(volume[0]),
                low=float(low),
                high=float(high),
                points=len(taken.points),
                front=len(taken.front),
                merged=int((merged["run"] == name).sum()),
                share=held[name],
            )
        )
    return tuple(sides)


def _pair(
    names: tuple[str, str],
    volumes: tuple[_Values, _Values],
    first_by_seed: _Values,
    second_by_seed: _Values,
) -> Pair:
    gap = volumes[0] - volumes[1]
    low, high = interval(gap)
    p, least = _permutation(first_by_seed, second_by_seed)
    return Pair(
        first=names[0],
        second=names[1],
        difference=float(gap[0]),
        low=float(low),
        high=float(high),
        p=p,
        least_p=least,
    )


def _permutation(first: _Values, second: _Values) -> tuple[float, float]:
    """Tests whether two groups of seeds are one, (S,), (T,): gives (p, least p), two-sided.

    Every way to deal the seeds to two groups of these sizes is tried where there are at most
    `_MOST_ORDERS`, else so many drawn ones. p counts the ways whose difference of means is at least
    as large, the one that was seen among them.
    """
    if len(first) < 2 or len(second) < 2:
        return math.nan, math.nan
    pooled = np.concatenate([first, second])
    count = math.comb(len(pooled), len(first))
    if count <= _MOST_ORDERS:
        chosen = np.array(list(itertools.combinations(range(len(pooled)), len(first))))
    else:
        rng = np.random.default_rng(0)
        drawn = [rng.permutation(len(pooled))[: len(first)] for _ in range(_MOST_ORDERS - 1)]
        chosen = np.array([np.arange(len(first)), *drawn])
    sums = pooled[chosen].sum(axis=1)
    gaps = sums / len(first) - (pooled.sum() - sums) / len(second)
    seen = abs(float(first.mean() - second.mean()))
    p = float(np.mean(np.abs(gaps) >= seen - 1e-12))
    mirrored = count <= _MOST_ORDERS and len(first) == len(second)
    return p, (2 if mirrored else 1) / len(chosen)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """Holds the quoted points of a front under weightings that all runs share."""

    merit: _Values
    cost: _Values
    """(F, B) of the front's points, chosen on selection; of merits high is better."""

    seed_merit: _Values
    seed_cost: _Values
    """(F, S): by seed; NaN where a point lacks one."""

    @classmethod
    def of(cls, run: Run, taken: Survey, *, stream: int) -> _Seen:
        """Weighs a surveyed run; runs with the same `stream` see the same draws."""
        run_roster = roster(run)
        quoted = outcomes(run, run_roster, taken.split)
        count = taken.resamples
        sizes = sorted({len(point.seeds) for point in run_roster.points})
        seeds = {
            size: resampling.seed_leans(size, count, np.random.default_rng([stream, 1, size]))
            for size in sizes
        }
        if 1 in seeds:
            seeds[1] = lone_leans(run_roster, count, np.random.default_rng([stream, 1, 1]))
        rng = np.random.default_rng([stream, 3])
        weights = resampling.example_weights(len(quoted.labels), count, rng)
        measured = Measured.of(run, run_roster, quoted, taken.vector, seeds, weights)
        kept = taken.points["on_front"].to_numpy(bool)
        alone = _by_seed(run, run_roster, taken.split, measured.lane_cost[:, 0])
        return cls(
            merit=merit(run.task, measured.score[kept]),
            cost=measured.cost[kept],
            seed_merit=merit(run.task, alone[0, kept]),
            seed_cost=alone[1, kept],
        )

    def volumes(self, reference: tuple[float, float]) -> _Values:
        return np.asarray(
            [
                hypervolume(self.merit[:, b], self.cost[:, b], reference=reference)
                for b in range(self.merit.shape[1])
            ]
        )

    def by_seed(self, reference: tuple[float, float]) -> _Values:
        """Gives the hypervolume of each seed that all points of the front have."""
        common = np.isfinite(self.seed_merit + self.seed_cost).all(axis=0)
        return np.asarray(
            [
                hypervolume(merits, cost, reference=reference)
                for merits, cost in zip(
                    self.seed_merit.T[common], self.seed_cost.T[common], strict=True
                )
            ]
        )


def _by_seed(run: Run, run_roster: Roster, split: str, lane_cost: _Values) -> _Values:
    """Gives the quoted score and cost of each point with each seed, (2, P, S); else NaN."""
    scores = run.trials.set_index("key")[f"{split}_score"]
    seeds = sorted({seed for point in run_roster.points for seed in point.seeds})
    table = np.full((2, len(run_roster.points), len(seeds)), np.nan)
    lanes = iter(lane_cost)
    for number, point in enumerate(run_roster.points):
        for key, seed in zip(point.keys, point.seeds, strict=True):
            table[:, number, seeds.index(seed)] = scores[key], next(lanes)
    return table


def _merged(task: Task, names: Sequence[str], surveys: Sequence[Survey]) -> pd.DataFrame:
    """Gives the front of all; of runs whose points are equal both stand on it."""
    import pandas as pd

    columns = ["point", "label", "score", "score_low", "score_high", "cost", "cost_low"]
    columns += ["cost_high", "over_mix", "verdict", "selection_score", "selection_cost"]
    columns += ["feasible", "breaks"]
    tables = [
        taken.front[columns].assign(run=name) for name, taken in zip(names, surveys, strict=True)
    ]
    every = pd.concat(tables, ignore_index=True)
    if every["feasible"].any():
        every = every[every["feasible"]].reset_index(drop=True)
    places = every[["selection_score", "selection_cost"]].to_numpy(np.float64)
    kept = nondominated(merit(task, places[:, 0]), places[:, 1])
    best = set(map(tuple, places[kept].tolist()))
    equal = [tuple(place) in best for place in places.tolist()]
    return cheapest_first(task, every[equal], last="run")


def _held(
    task: Task, merged: pd.DataFrame, names: Sequence[str], reference: tuple[float, float]
) -> dict[str, float]:
    """Gives what the merged front's quoted hypervolume would lose without each run's points."""
    merits = merit(task, merged["score"].to_numpy(np.float64))
    cost = merged["cost"].to_numpy(np.float64)
    total = hypervolume(merits, cost, reference=reference)
    lost = {}
    for name in names:
        others = (merged["run"] != name).to_numpy(bool)
        area = hypervolume(merits[others], cost[others], reference=reference) if others.any() else 0
        lost[name] = (total - area) / total if total > 0 else math.nan
    return lost
