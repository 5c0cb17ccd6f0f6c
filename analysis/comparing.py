"""Runs beside each other: fronts, hypervolumes with paired intervals, and the front of all.

Two runs can be compared where they were quoted on the same examples and priced alike. Examples are
resampled together, and so are seeds where runs have as many. Letters: R runs, P points, B
weightings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis import resampling
from analysis.dominance import hypervolume, nondominated
from analysis.fronts import Survey, survey
from analysis.held import Measured
from analysis.load import Run, RunError
from analysis.outcomes import outcomes, roster
from analysis.resampling import interval

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

MOST_ORDERS: Final = 10_000
"""Permutations of seeds that are tried; where there are fewer, all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A run in a comparison."""

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
    """How two runs differ in hypervolume: the first's less the second's."""

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
        """Who is ahead, or that nobody is."""
        if self.low > 0:
            return f"{self.first} is ahead"
        if self.high < 0:
            return f"{self.second} is ahead"
        return "not distinguishable"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs beside each other, quoted on one split under one cost vector."""

    split: str
    vector: str
    reference: tuple[float, float]
    """(score, cost) of every hypervolume here: the worst and the dearest of the runs' own."""

    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    merged: pd.DataFrame
    """The front of all points together, chosen on selection, cheapest first: run, point, label,
    score, cost with their intervals, over_mix, verdict."""

    surveys: tuple[Survey, ...]
    notes: tuple[str, ...]
    """What differs between the runs and was let pass."""


def compare(
    runs: Sequence[Run],
    *,
    split: str | None = None,
    vector: str | None = None,
    force: bool = False,
) -> Comparison:
    """Compares runs on the same examples under the same prices.

    `force` lets runs with other experts' costs pass, which is then noted; other examples are
    refused all the same, for nothing can be paired there.

    Raises:
        RunError: fewer than two runs, two of one name, another task, other examples, other prices,
            or a run without a whole point.
    """
    _check_names(runs)
    notes = _differences(runs, split, vector, force=force)
    surveys = [survey(run, split=split, vector=vector) for run in runs]
    reference = (
        min(each.reference[0] for each in surveys),
        max(each.reference[1] for each in surveys),
    )
    seen = [_Seen.of(run, each) for run, each in zip(runs, surveys, strict=True)]
    volumes = [each.volumes(reference) for each in seen]
    names = [run.name for run in runs]
    merged = _merged(names, surveys)
    sides = []
    held = _held(merged, names, reference)
    for name, each, volume in zip(names, surveys, volumes, strict=True):
        low, high = interval(volume)
        sides.append(
            Side(
                name=name,
                hypervolume=float(volume[0]),
                low=float(low),
                high=float(high),
                points=len(each.points),
                front=len(each.front),
                merged=int((merged["run"] == name).sum()),
                share=held[name],
            )
        )
    pairs = []
    for one, other in itertools.combinations(range(len(runs)), 2):
        gap = volumes[one] - volumes[other]
        low, high = interval(gap)
        p, least = permutation(seen[one].by_seed(reference), seen[other].by_seed(reference))
        pairs.append(
            Pair(
                first=names[one],
                second=names[other],
                difference=float(gap[0]),
                low=float(low),
                high=float(high),
                p=p,
                least_p=least,
            )
        )
    return Comparison(
        split=surveys[0].split,
        vector=surveys[0].vector.name,
        reference=reference,
        sides=tuple(sides),
        pairs=tuple(pairs),
        merged=merged,
        surveys=tuple(surveys),
        notes=tuple(notes),
    )


def permutation(first: Values, second: Values) -> tuple[float, float]:
    """(p, least p) of a two-sided test that two groups of seeds are one: (S,), (T,) values.

    Every way to deal the seeds to two groups of these sizes is tried where there are at most
    `MOST_ORDERS`, else so many drawn ones. p counts the ways whose difference of means is at least
    as large, the one that was seen among them.
    """
    if len(first) < 2 or len(second) < 2:
        return math.nan, math.nan
    pooled = np.concatenate([first, second])
    count = math.comb(len(pooled), len(first))
    if count <= MOST_ORDERS:
        chosen = np.array(list(itertools.combinations(range(len(pooled)), len(first))))
    else:
        rng = np.random.default_rng(0)
        drawn = [rng.permutation(len(pooled))[: len(first)] for _ in range(MOST_ORDERS - 1)]
        chosen = np.array([np.arange(len(first)), *drawn])
    sums = pooled[chosen].sum(axis=1)
    gaps = sums / len(first) - (pooled.sum() - sums) / len(second)
    seen = abs(float(first.mean() - second.mean()))
    p = float(np.mean(np.abs(gaps) >= seen - 1e-12))
    both = 2 if len(first) == len(second) else 1
    return p, both / len(chosen)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """The quoted points of a front under weightings that are the same for every run."""

    score: Values
    cost: Values
    """(F, B) of the front's points, chosen on selection."""

    seed_score: Values
    seed_cost: Values
    """(F, S): by seed; NaN where a point lacks one."""

    @classmethod
    def of(cls, run: Run, taken: Survey) -> _Seen:
        whole = roster(run)
        quoted = outcomes(run, whole, taken.split)
        count = taken.resamples
        sizes = sorted({len(point.seeds) for point in whole.points})
        rng = np.random.default_rng([0, 1])
        seeds = {size: resampling.seed_weights(size, count, rng) for size in sizes}
        weights = resampling.example_weights(
            len(quoted.labels), count, np.random.default_rng([0, 3])
        )
        measured = Measured.of(run, whole, quoted, taken.vector, seeds, weights)
        kept = taken.points["on_front"].to_numpy(bool)
        lanes = run.trials.set_index("key")
        score = f"{taken.split}_score"
        every = sorted({seed for point in whole.points for seed in point.seeds})
        table = np.full((2, len(whole.points), len(every)), np.nan)
        first = 0
        for number, point in enumerate(whole.points):
            for offset, (key, seed) in enumerate(zip(point.keys, point.seeds, strict=True)):
                place = every.index(seed)
                table[0, number, place] = lanes.loc[key, score]
                table[1, number, place] = measured.lane_cost[first + offset, 0]
            first += len(point.keys)
        return cls(
            score=measured.score[kept],
            cost=measured.cost[kept],
            seed_score=table[0][kept],
            seed_cost=table[1][kept],
        )

    def volumes(self, reference: tuple[float, float]) -> Values:
        return np.asarray(
            [
                hypervolume(self.score[:, b], self.cost[:, b], reference=reference)
                for b in range(self.score.shape[1])
            ]
        )

    def by_seed(self, reference: tuple[float, float]) -> Values:
        found = []
        for score, cost in zip(self.seed_score.T, self.seed_cost.T, strict=True):
            there = np.isfinite(score) & np.isfinite(cost)
            if there.any():
                found.append(hypervolume(score[there], cost[there], reference=reference))
        return np.asarray(found)


def _merged(names: Sequence[str], surveys: Sequence[Survey]) -> pd.DataFrame:
    import pandas as pd

    columns = ["point", "label", "score", "score_low", "score_high", "cost", "cost_low"]
    columns += ["cost_high", "over_mix", "verdict", "selection_score", "selection_cost"]
    tables = [
        each.points[columns].assign(run=name) for name, each in zip(names, surveys, strict=True)
    ]
    every = pd.concat(tables, ignore_index=True)
    kept = nondominated(
        every["selection_score"].to_numpy(np.float64), every["selection_cost"].to_numpy(np.float64)
    )
    found: pd.DataFrame = every[kept].sort_values(["cost", "score"], ignore_index=True)
    return found


def _held(
    merged: pd.DataFrame, names: Sequence[str], reference: tuple[float, float]
) -> dict[str, float]:
    """What the merged front's quoted hypervolume would lose without each run's points."""
    score, cost = merged["score"].to_numpy(np.float64), merged["cost"].to_numpy(np.float64)
    whole = hypervolume(score, cost, reference=reference)
    found = {}
    for name in names:
        others = (merged["run"] != name).to_numpy(bool)
        rest = hypervolume(score[others], cost[others], reference=reference) if others.any() else 0
        found[name] = (whole - rest) / whole if whole > 0 else math.nan
    return found


def _check_names(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise RunError(f"{len(runs)} run to compare; name two or more")
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(
            f"two runs are named {twice[0]}; rename a folder and its study, or name another"
        )


def _differences(
    runs: Sequence[Run], split: str | None, vector: str | None, *, force: bool
) -> list[str]:
    """Refuses what cannot be paired; gives what differs and was forced."""
    first = runs[0]
    notes = []
    for other in runs[1:]:
        if other.task.name != first.task.name:
            raise RunError(
                f"{first.name} is of task {first.task.name} and {other.name} of {other.task.name}; "
                "runs of one task can be compared"
            )
        prints = [(run.provenance.get("fingerprints") or {}).get("data") for run in (first, other)]
        if prints[0] != prints[1]:
            raise RunError(
                f"{first.name} and {other.name} have other data (fingerprints {prints[0]} and "
                f"{prints[1]}): their examples cannot be paired; run both on the same data"
            )
        one, two = first.cost_vector(vector), other.cost_vector(vector)
        if one == two and first.expert_names == other.expert_names:
            continue
        text = (
            f"{first.name} and {other.name} are priced differently under {one.name!r} and "
            f"{two.name!r}: {_priced(first, one.experts, one.router)} against "
            f"{_priced(other, two.experts, two.router)}"
        )
        if not force:
            raise RunError(
                f"{text}; name a vector that both have alike (--costs), or compare all the same "
                "with --force"
            )
        notes.append(text)
    return notes


def _priced(run: Run, experts: Sequence[float], router: float) -> str:
    costs = ", ".join(
        f"{name} {cost:g}" for name, cost in zip(run.expert_names, experts, strict=True)
    )
    return f"{costs}, router {router:g}"
