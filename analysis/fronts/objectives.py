"""Finds fronts over any number of metrics and costs that a study optimises, each up or down.

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
from analysis.runs.outcomes import Outcomes, Roster, outcomes, recorded_values, roster
from analysis.stats import resampling
from analysis.stats.resampling import interval
from mpc_router.run_names import SELECTION
from mpc_router.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

_COINS: Final = 20
"""Steps of a coin from one expert to the next."""

SCORE, COST, OF_VECTOR = "score", "cost", "cost_"
_UP: Final = "max"


def own_objectives(run: Run) -> dict[str, str]:
    """Gives what the study optimises, name -> `max` or `min`.

    It is empty where that is score and cost.
    """
    objectives = dict(run.provenance.get("objectives") or {})
    return {} if objectives == {SCORE: run.task.direction, COST: "min"} else objectives


def objective_front(
    run: Run,
    *,
    objectives: Mapping[str, str] | None = None,
    split: str | None = None,
    resamples: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Gives a run's points under its study's objectives, or these: name -> `max` or `min`.

    A name is `score`, one of the task's metrics, `cost` (the study's vector) or `cost_VECTOR`. A
    row is a point: point, label; each objective on the quoted split with `_low` and `_high`, and
    as `selection_NAME`; `on_front`, decided by the means on selection, of equal points the first;
    `chance`, the share of the resamples in which the point is on it; `feasible` and `breaks`, as
    `survey.points` has them. Draws are those of `survey`; those of a metric of outputs (log loss,
    calibration error) are over seeds alone, for it is what the trials recorded.

    Raises:
        RunError: no point is whole, an objective is not known, or the run has no routing table.
    """
    import pandas as pd

    wanted = dict(run.provenance.get("objectives") or {} if objectives is None else objectives)
    _refuse_unknown(run, wanted)
    run_roster = roster(run)
    count = resampling.resamples_for(run.task) if resamples is None else resamples
    seeds = seed_draws(run_roster, count, seed)
    sides = {}
    for stream, side in ((2, SELECTION), (3, run.split(split))):
        seen = outcomes(run, run_roster, side)
        weights = example_draws(run, seen, count, seed, stream)
        sides[stream] = {
            name: _measured(run, run_roster, seen, name, seeds, weights) for name in wanted
        }
        if side == SELECTION:
            judged = judge(run, run_roster, seen)
    chosen, quoted = sides[2], sides[3]
    columns: dict[str, Any] = {
        "point": [point.point for point in run_roster.points],
        "label": [point.label for point in run_roster.points],
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
    """Measures single experts, and coins between neighbours in cost, by objective.

    The objectives are the study's own.

    A row is an expert (`expert` is its name) or a coin (`expert` is empty), from the cheapest to
    the dearest under the study's cost vector; every other column is an objective, on the quoted
    split. Neither pays a router. What a coin scores is `resampling.mixed_scores`.

    Raises:
        RunError: trials have different experts, which no one line stands for, or an objective is a
            metric of outputs, which a coin has not.
    """
    import pandas as pd

    seen = outcomes(run, roster(run), split, need_routes=False)
    if len(seen.pools) > 1 or len(seen.pools[0].members) < len(run.expert_names):
        raise RunError("trials have different experts, so no one line of them can be drawn")
    if unknown := [name for name in own_objectives(run) if _of_outputs(run, name)]:
        raise RunError(
            f"{unknown[0]} needs the experts' probabilities; a coin that mixes experts has "
            "predictions only"
        )
    order = np.argsort(run.cost_vector().experts, kind="stable")
    predictions = seen.pools[0].prediction[order]
    along = {
        name: _along(run, name, order, predictions, seen.labels) for name in own_objectives(run)
    }
    names = [""] * len(next(iter(along.values())))
    names[::_COINS] = [run.expert_names[expert] for expert in order][: len(names[::_COINS])]
    return pd.DataFrame({"expert": names, **along})


def _along(
    run: Run, name: str, order: NDArray[np.intp], predictions: _Values, labels: _Values
) -> _Values:
    """Follows an objective from the cheapest expert over coins to the dearest.

    `predictions` are (K, N).
    """
    portions = np.linspace(0, 1, 1 + _COINS)
    flat = np.ones((1, len(labels)), np.float32)

    def between(cheap: int, dear: int) -> _Values:
        if _is_metric(run, name):
            pair, task = (predictions[cheap], predictions[dear]), _task_of(run, name)
            return resampling.mixed_scores(task, pair, portions, labels=labels, weights=flat)[:, 0]
        vector = run.cost_vector(None if name == COST else name.removeprefix(OF_VECTOR))
        ends = np.asarray(vector.experts, np.float64)[order[[cheap, dear]]]
        return np.asarray(ends[0] + portions * (ends[1] - ends[0]))

    segments = [between(*pair) for pair in pairwise(range(len(predictions)))] or [between(0, 0)]
    return np.concatenate([*(segment[:-1] for segment in segments), segments[-1][-1:]])


def _is_metric(run: Run, name: str) -> bool:
    return name == SCORE or name in run.task.metrics


def _of_outputs(run: Run, name: str) -> bool:
    """Says whether an objective is a metric of outputs, which predictions do not tell."""
    return name in run.task.metrics and run.task.metric(name).of_outputs


def _task_of(run: Run, name: str) -> Task:
    """Gives the task, scored by this metric alone."""
    return run.task if name == SCORE else replace(run.task, metrics=(name,), score=name)


def _refuse_unknown(run: Run, wanted: dict[str, str]) -> None:
    vectors = [f"{OF_VECTOR}{name}" for name in run.cost_vectors]
    allowed = (SCORE, *run.task.metrics, COST, *vectors)
    wrong = [name for name in wanted if name not in allowed]
    if wrong or not wanted:
        problem = f"no objective {wrong[0]!r}" if wrong else "no objective is given"
        raise RunError(f"{run.name}: {problem}; allowed are {', '.join(allowed)}")
    for name, way in wanted.items():
        if way not in (_UP, "min"):
            raise RunError(f"{run.name}: objective {name} is {way!r}; allowed are max and min")


def _measured(
    run: Run,
    run_roster: Roster,
    seen: Outcomes,
    name: str,
    seeds: dict[int, _Values],
    weights: resampling.Weights,
) -> _Values:
    """Measures one objective under every weighting, (P, B)."""
    if _of_outputs(run, name):
        recorded = recorded_values(run, run_roster, seen.split, name)[:, None]
        lanes = recorded.repeat(len(weights), axis=1)
        low, high = run.task.metric(name).range
        return np.clip(by_point(lanes, run_roster.points, seeds), low, high)
    if _is_metric(run, name):
        task = _task_of(run, name)
        scores = resampling.weighted_scores(task, seen.predictions, seen.labels, weights)
        return resampling.bounded(task, by_point(scores, run_roster.points, seeds))
    vector = run.cost_vector(None if name == COST else name.removeprefix(OF_VECTOR))
    return Measured.of(run, run_roster, seen, vector, seeds, weights).cost


def _front(
    values: dict[str, _Values],
    ways: dict[str, str],
    column: int,
    eligible: NDArray[np.bool_],
    *,
    twins: bool,
) -> NDArray[np.bool_]:
    """Marks points, (P,), that no eligible point beats in one objective and equals in all."""
    import moocore

    table = np.column_stack([values[name][:, column] for name in ways])
    up = [way == _UP for way in ways.values()]
    on_front = eligible.copy()
    on_front[eligible] = moocore.is_nondominated(table[eligible], maximise=up, keep_weakly=twins)
    return on_front
