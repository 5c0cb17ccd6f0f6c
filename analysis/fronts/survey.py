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

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.baselines import yardsticks
from analysis.baselines.yardsticks import Curve, Mix
from analysis.fronts.constraints import Judged, judge
from analysis.fronts.points import (
    Measured,
    Yards,
    best_keys,
    by_excess,
    by_point,
    example_draws,
    seed_draws,
)
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import LeftOut, Roster, outcomes, roster
from analysis.stats import resampling
from analysis.stats.choice import Optimism, optimism
from analysis.stats.dominance import default_reference, hypervolume, nondominated
from analysis.stats.resampling import interval
from mpc_router.costs import CostVector
from mpc_router.run_names import SELECTION
from mpc_router.tasks import Task, merit

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

ABOVE, BELOW, EQUAL = "above", "below", "not distinguishable"
"""How a point stands to the random mix at its cost: by more than its interval, or not."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Holds points, front and yardsticks of a run, quoted on one split under one vector."""

    task: Task
    """Of which the scores are; `merit(task, score)` turns them so that high is better."""

    split: str
    vector: CostVector
    examples: int
    resamples: int
    points: pd.DataFrame
    """A row is a point; see `points`."""

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

    optimism: Optimism
    """What choosing the front on selection has added to its scores there."""

    hypervolume: float
    hypervolume_interval: tuple[float, float]
    expert_sets: int
    """Pools of trained experts that trials were held against; see `Outcomes.pools`."""

    prepared_sets: int
    """Of experts or prices that differ under the vector."""

    joint: bool
    """Whether experts trained with their trials: single experts are then means over trials."""

    @property
    def front(self) -> pd.DataFrame:
        """Gives the points of the front, cheapest first."""
        chosen: pd.DataFrame = self.points[self.points["on_front"]]
        return cheapest_first(self.task, chosen)

    @property
    def barred(self) -> pd.DataFrame:
        """Gives the points that only constraints keep from the front, cheapest first."""
        places = self.points[["selection_score", "selection_cost"]].to_numpy(np.float64)
        beaten_by_none = nondominated(merit(self.task, places[:, 0]), places[:, 1])
        chosen: pd.DataFrame = self.points[beaten_by_none & ~self.points["on_front"]]
        return cheapest_first(self.task, chosen[~chosen["feasible"]])


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
    seeds = seed_draws(run_roster, count, seed)
    name = run.split(split)
    chosen = outcomes(run, run_roster, SELECTION, need_routes=False)
    quoted = chosen if name == SELECTION else outcomes(run, run_roster, name, need_routes=False)
    first = Measured.of(
        run, run_roster, chosen, costs, seeds, example_draws(run, chosen, count, seed, 2)
    )
    weights = example_draws(run, quoted, count, seed, 3)
    second = Measured.of(run, run_roster, quoted, costs, seeds, weights)
    yards = Yards.of(task, quoted, costs, weights)
    judged = judge(run, run_roster, chosen)
    chosen_merit, quoted_merit = merit(task, first.score), merit(task, second.score)
    on_front = judged.front(chosen_merit[:, 0], first.cost[:, 0])
    reference = default_reference(merit(task, yards.singles[:, 0]), costs)
    volumes = np.asarray(
        [
            hypervolume(quoted_merit[on_front, b], second.cost[on_front, b], reference=reference)
            for b in range(1 + count)
        ]
    )
    low, high = interval(volumes)
    once = np.ones((1, len(chosen.labels)), np.float32)
    coin, lane_coin = yards.coin(run_roster, second, quoted)
    plain = by_point(second.lane_score, run_roster.points, None)
    apart = merit(task, second.lane_score - lane_coin)
    over = by_point(apart, run_roster.points, seeds, merit(task, plain - coin))
    constant = yardsticks.majority(task, chosen.labels, quoted.labels)[1]
    coin = resampling.bounded(task, by_point(lane_coin, run_roster.points, seeds, coin))
    table = _points_table(
        run,
        run_roster,
        first,
        second,
        judged=judged,
        on_front=on_front,
        coin=coin,
        over=over,
        excess=by_excess(apart, run_roster.points),
        coin_there=Yards.of(task, chosen, costs, once).coin(run_roster, first, chosen)[0][:, 0],
        best=yards.best(run, run_roster, second, quoted),
        dearest=float(yards.mix.costs[-1]),
        least=yardsticks.least_room(task, constant["score"]),
    )
    front = _sorted_by_cost(task, table[on_front]).index.to_numpy()
    return Survey(
        task=task,
        split=quoted.split,
        vector=costs,
        examples=len(quoted.labels),
        resamples=count,
        points=table,
        left_out=run_roster.left_out,
        judged=judged,
        partial=run_roster.partial,
        singles=_singles_table(run, yards.singles, costs),
        majority=constant,
        front_scores=second.score[front],
        front_costs=second.cost[front],
        oracle=yards.oracle,
        mix=yards.mix,
        oracle_curve=yards.curve,
        reference=(merit(task, reference[0]), reference[1]),
        optimism=optimism(chosen_merit, quoted_merit, on_front),
        hypervolume=float(volumes[0]),
        hypervolume_interval=(float(low), float(high)),
        expert_sets=len(quoted.pools),
        prepared_sets=len(
            {(prepared_set.members, prepared_set.vectors[costs.name]) for prepared_set in run.sets}
        ),
        joint=any(run.sets[number].joint for number in set(quoted.set_of.tolist())),
    )


def _spread(name: str, values: _Values) -> dict[str, _Values]:
    low, high = interval(values)
    return {name: values[:, 0], f"{name}_low": low, f"{name}_high": high}


def _points_table(
    run: Run,
    run_roster: Roster,
    first: Measured,
    second: Measured,
    *,
    judged: Judged,
    on_front: NDArray[np.bool_],
    coin: _Values,
    over: _Values,
    excess: _Values,
    coin_there: _Values,
    best: _Values,
    dearest: float,
    least: float,
) -> pd.DataFrame:
    import pandas as pd

    task = run.task
    reached, mixed = merit(task, second.score[:, 0]), merit(task, coin[:, 0])
    over_low, over_high = interval(over)
    sure = run.routed  # without routes the chance in the examples is not known
    columns: dict[str, Any] = {
        "point": [point.point for point in run_roster.points],
        "label": [point.label for point in run_roster.points],
    }
    columns |= {name: [p.settings[name] for p in run_roster.points] for name in run.settings}
    columns |= {
        "seeds": [p.seeds for p in run_roster.points],
        "keys": [p.keys for p in run_roster.points],
        "key": best_keys(run_roster, merit(task, first.lane_score[:, 0]), first.lane_cost[:, 0]),
        "n": [len(p.seeds) for p in run_roster.points],
    }
    columns |= _spread("score", second.score) | _spread("cost", second.cost)
    columns |= _spread("mix", coin) | _spread("over_mix", over)
    columns |= {
        "verdict": np.select(
            [sure & (over_low > 0), sure & (over_high < 0)], [ABOVE, BELOW], EQUAL
        ),
        "headroom": yardsticks.captured_headroom(reached, mixed, merit(task, best), least=least),
        "regret": yardsticks.regret(reached, merit(task, best)),
        "speed_up": dearest / second.cost[:, 0],
        "share": list(second.share.tolist()),
        "runs": list((second.share @ alternatives(run).runs).tolist()),
    }
    columns |= _spread("selection_score", first.score) | _spread("selection_cost", first.cost)
    columns["selection_over_mix"] = merit(task, first.score[:, 0] - coin_there)
    columns["seed_excess"] = excess if sure else np.nan
    columns["on_front"] = on_front
    columns["chance"] = judged.chances(merit(task, first.score), first.cost)
    columns["feasible"], columns["breaks"] = judged.feasible, judged.breaks
    return pd.DataFrame(columns)


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
    table = pd.DataFrame(fixed | _spread("score", scores))
    return table[table["score"].notna()].reset_index(drop=True)


def unit(survey: Survey) -> str:
    """Gives the cost's unit, empty for the pool's own constants."""
    return "" if survey.vector.unit == "units" else f" {survey.vector.unit}"


def least_seeds(survey: Survey) -> int:
    """Gives the replicates of the point that has fewest."""
    return int(survey.points["n"].min())
