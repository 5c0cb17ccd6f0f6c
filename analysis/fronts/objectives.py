"""Fronts over whatever a study optimises: any number of metrics and costs, each up or down.

Letters: L trials, P points, N examples, B weightings, M objectives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.fronts.constraints import judge
from analysis.fronts.points import Measured, by_point, example_draws, seed_draws
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import Outcomes, Roster, outcomes, roster
from analysis.stats import resampling
from analysis.stats.resampling import interval
from mpc_router.run_names import SELECTION
from mpc_router.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

_COINS: Final = 20
"""Steps of a coin from one expert to the next."""

SCORE, COST, OF_VECTOR = "score", "cost", "cost_"
USUAL: Final = {SCORE: "max", COST: "min"}
_UP: Final = "max"


def own_objectives(run: Run) -> dict[str, str]:
    """What the study optimises, name -> `max` or `min`, where it is not score and cost; else {}."""
    objectives = dict(run.provenance.get("objectives") or {})
    return {} if objectives == USUAL else objectives


def objective_front(
    run: Run,
    *,
    objectives: Mapping[str, str] | None = None,
    split: str | None = None,
    resamples: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The points of a run under its study's objectives, or these: name -> `max` or `min`.

    A name is `score`, one of the task's metrics, `cost` (the study's vector) or `cost_VECTOR`. A
    row is a point: point, label; each objective on the quoted split with `_low` and `_high`, and
    as `selection_NAME`; `on_front`, decided by the means on selection, of equal points the first;
    `chance`, the share of the resamples in which the point is on it; `feasible` and `breaks`, as
    `survey.points` has them. Draws are those of `survey`.

    Raises:
        RunError: no point is whole, an objective is not known, or the run has no routing table.
    """
    import pandas as pd

    wanted = dict(run.provenance.get("objectives") or {} if objectives is None else objectives)
    _refuse_unknown(run, wanted)
    whole = roster(run)
    count = resampling.resamples_for(run.task) if resamples is None else resamples
    seeds = seed_draws(whole, count, seed)
    sides = {}
    for stream, side in ((2, SELECTION), (3, run.split(split))):
        seen = outcomes(run, whole, side)
        weights = example_draws(run, seen, count, seed, stream)
        sides[stream] = {name: _measured(run, whole, seen, name, seeds, weights) for name in wanted}
        if side == SELECTION:
            judged = judge(run, whole, seen)
    chosen, quoted = sides[2], sides[3]
    columns: dict[str, Any] = {
        "point": [point.point for point in whole.points],
        "label": [point.label for point in whole.points],
    }
    for name, values in quoted.items():
        low, high = interval(values)
        columns |= {name: values[:, 0], f"{name}_low": low, f"{name}_high": high}
        columns[f"{SELECTION}_{name}"] = chosen[name][:, 0]
    may = judged.eligible
    columns["on_front"] = _front(chosen, wanted, 0, may, twins=False)
    drawn = [_front(chosen, wanted, b, may, twins=True) for b in range(1, 1 + count)]
    columns["chance"] = np.mean(drawn, axis=0) if drawn else np.nan
    columns["feasible"], columns["breaks"] = judged.feasible, judged.breaks
    return pd.DataFrame(columns)


def objective_yardsticks(run: Run, split: str) -> pd.DataFrame:
    """Single experts, and coins between neighbours in cost, under the study's own objectives.

    A row is an expert (`expert` is its name) or a coin (`expert` is empty), from the cheapest to
    the dearest under the study's cost vector; every other column is an objective, on the quoted
    split. Neither pays a router. What a coin scores is `resampling.mixed_scores`.

    Raises:
        RunError: trials have different experts, which no one line stands for.
    """
    import pandas as pd

    seen = outcomes(run, roster(run), split, need_routes=False)
    if len(seen.pools) > 1 or len(seen.pools[0].members) < len(run.expert_names):
        raise RunError("trials have different experts, so no one line of them can be drawn")
    order = np.argsort(run.cost_vector().experts, kind="stable")
    said = seen.pools[0].prediction[order]
    along = {name: _along(run, name, order, said, seen.labels) for name in own_objectives(run)}
    names = [""] * len(next(iter(along.values())))
    names[::_COINS] = [run.expert_names[expert] for expert in order][: len(names[::_COINS])]
    return pd.DataFrame({"expert": names, **along})


def _along(run: Run, name: str, order: NDArray[np.intp], said: Values, labels: Values) -> Values:
    """An objective from the cheapest expert over coins to the dearest; `said` is (K, N)."""
    portions = np.linspace(0, 1, 1 + _COINS)
    flat = np.ones((1, len(labels)), np.float32)

    def between(cheap: int, dear: int) -> Values:
        if _is_metric(run, name):
            pair, task = (said[cheap], said[dear]), _task_of(run, name)
            return resampling.mixed_scores(task, pair, portions, labels=labels, weights=flat)[:, 0]
        vector = run.cost_vector(None if name == COST else name.removeprefix(OF_VECTOR))
        ends = np.asarray(vector.experts, np.float64)[order[[cheap, dear]]]
        return np.asarray(ends[0] + portions * (ends[1] - ends[0]))

    found = [between(*pair) for pair in pairwise(range(len(said)))] or [between(0, 0)]
    return np.concatenate([*(each[:-1] for each in found), found[-1][-1:]])


def _is_metric(run: Run, name: str) -> bool:
    return name == SCORE or name in run.task.metrics


def _task_of(run: Run, name: str) -> Task:
    """The task, scored by this metric alone."""
    return replace(run.task, metrics=run.task.metrics if name == SCORE else (name,))


def _refuse_unknown(run: Run, wanted: dict[str, str]) -> None:
    vectors = [f"{OF_VECTOR}{name}" for name in run.cost_vectors]
    allowed = (SCORE, *run.task.metrics, COST, *vectors)
    wrong = [name for name in wanted if name not in allowed]
    if wrong or not wanted:
        found = f"no objective {wrong[0]!r}" if wrong else "no objective is given"
        raise RunError(f"{run.name}: {found}; allowed are {', '.join(allowed)}")
    for name, way in wanted.items():
        if way not in (_UP, "min"):
            raise RunError(f"{run.name}: objective {name} is {way!r}; allowed are max and min")


def _measured(
    run: Run,
    whole: Roster,
    seen: Outcomes,
    name: str,
    seeds: dict[int, Values],
    weights: resampling.Weights,
) -> Values:
    """(P, B) one objective under every weighting."""
    if _is_metric(run, name):
        task = _task_of(run, name)
        scores = resampling.weighted_scores(task, seen.predictions, seen.labels, weights)
        return resampling.bounded(task, by_point(scores, whole.points, seeds))
    vector = run.cost_vector(None if name == COST else name.removeprefix(OF_VECTOR))
    return Measured.of(run, whole, seen, vector, seeds, weights).cost


def _front(
    values: dict[str, Values],
    ways: dict[str, str],
    column: int,
    eligible: NDArray[np.bool_],
    *,
    twins: bool,
) -> NDArray[np.bool_]:
    """(P,) whether no other eligible point is better in one objective and as good in all."""
    import moocore

    table = np.column_stack([values[name][:, column] for name in ways])
    up = [way == _UP for way in ways.values()]
    on_front = eligible.copy()
    on_front[eligible] = moocore.is_nondominated(table[eligible], maximise=up, keep_weakly=twins)
    return on_front
