"""Surveys fronts over points with replicates: chosen on `selection`, quoted elsewhere.

Intervals are 95 % percentile intervals of draws, paired: a draw resamples the same examples for
every point and yardstick and leans towards the same seeds; see `resampling.over_seeds`. With three
seeds or more they hold the truth in 92 to 98 % of simulated runs
(tests/analysis/fronts/test_coverage.py); where seeds differ far more than their examples explain it
may be 90 %, and with two seeds 87. The random mix is a maximum over pairs of experts, which
resampling lifts a little.

Letters: P points, N examples, B weightings, K experts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.baselines import yardsticks
from analysis.baselines.yardsticks import Curve, Mix
from analysis.fronts._points_table import ABOVE as ABOVE
from analysis.fronts._points_table import BELOW as BELOW
from analysis.fronts._points_table import EQUAL as EQUAL
from analysis.fronts._points_table import Basis, spread
from analysis.fronts.constraints import Judged, judge
from analysis.fronts.points import Yards, example_draws, seed_draws
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import LeftOut, outcomes, roster
from analysis.stats import resampling
from analysis.stats.choice import Optimism
from analysis.stats.dominance import default_reference, hypervolume, nondominated
from analysis.stats.resampling import interval
from mpc_router.costs import CostVector
from mpc_router.run_names import SELECTION
from mpc_router.tasks import Task, merit

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Holds points, front and yardsticks of a run, quoted on one split under one vector."""

    task: Task
    """Of which the scores are; `merit(task, score)` turns them so that high is better."""

    split: str
    vector: CostVector
    examples: int
    resamples: int
    replicates: tuple[int, ...]
    """(P,) the seeds of each point that can be judged."""

    front: pd.DataFrame
    """The points of the front, cheapest first; see `points`, of whose columns `chance` is not here.
    """

    barred: pd.DataFrame
    """The points that only constraints keep from the front, likewise."""

    left_out: tuple[LeftOut, ...]
    judged: Judged
    """How the points stand to the study's constraints, in the order of `points`."""

    partial: str
    """What the points are judged by where they are not whole, `2 of 3 seeds`; else empty."""

    singles: pd.DataFrame
    """A row is an expert: expert, name, cost, score, score_low, score_high."""

    majority: dict[str, float]
    """Metrics of the commonest label."""

    front_scores: _Values
    """(F, B) of the points of `front` in its order, under every draw."""

    front_costs: _Values
    """(F, B)."""

    oracle: tuple[float, float]
    """(score, cost), the router paid."""

    mix: Mix
    oracle_curve: Curve
    reference: tuple[float, float]
    """(score, cost) of the hypervolume's reference."""

    hypervolume: float
    hypervolume_interval: tuple[float, float]
    expert_sets: int
    """Pools of trained experts that trials were held against; see `Outcomes.pools`."""

    prepared_sets: int
    """Of experts or prices that differ under the vector."""

    joint: bool
    """Whether experts trained with their trials: single experts are then means over trials."""

    all_points: Callable[[], tuple[pd.DataFrame, Optimism]] = field(repr=False)
    """Measures the points that are not on the front under every draw too, which may take long."""

    @cached_property
    def _measured(self) -> tuple[pd.DataFrame, Optimism]:
        return self.all_points()

    @property
    def points(self) -> pd.DataFrame:
        """Gives all points, a row each; see `points`. They are measured when first asked for."""
        return self._measured[0]

    @property
    def optimism(self) -> Optimism:
        """Says what choosing the front on selection has added to its scores there."""
        return self._measured[1]


def cheapest_first(task: Task, rows: pd.DataFrame, last: str = "point") -> pd.DataFrame:
    """Sorts rows by cost, of equal ones the worse score first, then by the column `last`."""
    return _sorted_by_cost(task, rows, last).reset_index(drop=True)


def _sorted_by_cost(task: Task, rows: pd.DataFrame, last: str = "point") -> pd.DataFrame:
    """Sorts as `cheapest_first` does, and keeps the rows' index."""
    up = [True, task.direction == "max", True]
    ordered: pd.DataFrame = rows.sort_values(["cost", "score", last], ascending=up)
    return ordered


def points(
    run: Run,
    *,
    split: str | None = None,
    vector: str | None = None,
    resamples: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Gives the points that can be judged (see `roster`), one a row, in the order of settings.

    Columns: point, label, every searched setting, seeds and keys (tuples), n, `key` (the whole key
    of the seed that is best on selection: the one to run); on the quoted split
    `score`, `cost`, `mix` (the random mix of the point's experts at that cost), `over_mix` (how
    much better the score is than that: above 0 is better, also where a low score is), each
    with `_low` and `_high`; `verdict`, `headroom` and `regret` (to the oracle curve of its experts
    at that cost), `speed_up`, `share` (a list over the run's alternatives, see there), `runs` (a
    list by expert: the share that it runs for); `selection_score` and `selection_cost` with `_low`
    and `_high`, `selection_over_mix`; `seed_excess` (how much more the seeds' distances to the
    mix differ than their examples explain; NaN without routes or with one seed); `on_front`,
    decided by the means on selection; `chance`, the share of the resamples of selection in which
    the point is on the front; `feasible`, whether it keeps the study's constraints on selection,
    and `breaks`, the names of those that it breaks. The front holds feasible points alone, unless
    there are none.
    """
    return survey(run, split=split, vector=vector, resamples=resamples, seed=seed).points


@lru_cache(maxsize=4)
def survey(
    run: Run,
    *,
    split: str | None = None,
    vector: str | None = None,
    resamples: int | None = None,
    seed: int = 0,
) -> Survey:
    """Computes everything that a picture of the front needs; see `Survey`.

    `split` is the quoted one (default: the task's first), `vector` the name of a cost vector of the
    run (default: the study's), `resamples` their number (default: 1000, regressions 200; with 0
    there are no intervals, and no verdict but `EQUAL`). A run without routing tables has the
    scores and shares that its trials recorded: its intervals are over seeds alone, and it has no
    verdict but `EQUAL` either.

    Raises:
        RunError: no point can be judged, or a table lacks rows.
    """
    task, costs = run.task, run.cost_vector(vector)
    count = resampling.resamples_for(task) if resamples is None else resamples
    run_roster = roster(run)
    name = run.split(split)
    chosen = outcomes(run, run_roster, SELECTION, need_routes=False)
    quoted = chosen if name == SELECTION else outcomes(run, run_roster, name, need_routes=False)
    weights = example_draws(run, quoted, count, seed, 3)
    yards = Yards.of(task, quoted, costs, weights)
    basis = Basis(
        run=run,
        roster=run_roster,
        vector=costs,
        seeds=seed_draws(run_roster, count, seed),
        chosen=chosen,
        quoted=quoted,
        chosen_weights=example_draws(run, chosen, count, seed, 2),
        quoted_weights=weights,
        yards=yards,
        judged=judge(run, run_roster, chosen),
    )
    part = basis.measure(basis.near_front())
    merits, paid = basis.on_selection(part)
    on_front = basis.judged.front(merits, paid)
    barred = nondominated(merits, paid) & ~on_front & ~basis.judged.feasible
    rows = basis.rows(part, on_front)
    held = on_front[part.numbers]
    scores, spent = part.second.score[held], part.second.cost[held]
    reference = default_reference(merit(task, yards.singles[:, 0]), costs)
    volumes = np.asarray(
        [
            hypervolume(merit(task, scores[:, b]), spent[:, b], reference=reference)
            for b in range(1 + count)
        ]
    )
    low, high = interval(volumes)
    front = _sorted_by_cost(task, rows[held])
    order = np.searchsorted(np.flatnonzero(held), front.index.to_numpy())
    return Survey(
        task=task,
        split=quoted.split,
        vector=costs,
        examples=len(quoted.labels),
        resamples=count,
        replicates=tuple(len(point.seeds) for point in run_roster.points),
        front=front.reset_index(drop=True),
        barred=cheapest_first(task, rows[barred[part.numbers]]),
        left_out=run_roster.left_out,
        judged=basis.judged,
        partial=run_roster.partial,
        singles=_singles_table(run, yards.singles, costs),
        majority=yardsticks.majority(task, chosen.labels, quoted.labels)[1],
        front_scores=scores[order],
        front_costs=spent[order],
        oracle=yards.oracle,
        mix=yards.mix,
        oracle_curve=yards.curve,
        reference=(merit(task, reference[0]), reference[1]),
        hypervolume=float(volumes[0]),
        hypervolume_interval=(float(low), float(high)),
        expert_sets=len(quoted.pools),
        prepared_sets=len(
            {(prepared_set.members, prepared_set.vectors[costs.name]) for prepared_set in run.sets}
        ),
        joint=any(run.sets[number].joint for number in set(quoted.set_of.tolist())),
        all_points=partial(basis.table, on_front, part),
    )


def _singles_table(run: Run, scores: _Values, vector: CostVector) -> pd.DataFrame:
    import pandas as pd

    if len(vector.experts) != len(scores):
        raise RunError(
            f"{run.path}: cost vector {vector.name!r} has {len(vector.experts)} experts, "
            f"the tables have {len(scores)}"
        )
    fixed = {
        "expert": np.arange(len(scores)),
        "name": list(run.expert_names),
        "cost": list(vector.experts),
    }
    table = pd.DataFrame(fixed | spread("score", scores))
    return table[table["score"].notna()].reset_index(drop=True)


def unit(survey: Survey) -> str:
    """Gives the cost's unit, empty for the pool's own constants."""
    return "" if survey.vector.unit == "units" else f" {survey.vector.unit}"


def least_seeds(survey: Survey) -> int:
    """Gives the replicates of the point that has fewest."""
    return min(survey.replicates)
