"""Judges which points keep a run's constraints: on selection, by the mean of replicates.

Letters: L trials, P points, C constraints, G biases, K experts of a trial's own set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.bias_curves import BiasCurve
from analysis.bounds import (
    DEAD_EXPERTS,
    LEAST_SHARE,
    Constraint,
    plain_bounds,
    reported,
    violations,
)
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import Outcomes, Roster, recorded_shares
from analysis.stats.choice import front_chance
from analysis.stats.dominance import nondominated
from mpc_router.costs import CostVector
from mpc_router.routes import expert_shares
from mpc_router.run_names import SELECTION, STUDY_FILE

_Values = NDArray[np.float64]

SCORE, COST, OF_VECTOR = "score", "cost", "cost_"


def constraints_of(run: Run) -> tuple[Constraint, ...]:
    """Gives the constraints of the run's study, in its order; empty where it has none.

    Raises:
        RunError: `study.yaml` holds something else under `constraints`.
    """
    bounds_by_name = run.study.get("constraints") or {}
    path = run.path / STUDY_FILE
    if not isinstance(bounds_by_name, Mapping):
        raise RunError(f"{path}: constraints is no mapping of names to {{max: number}}")
    constraints = []
    for name, bounds in bounds_by_name.items():
        try:
            plain = plain_bounds(bounds)
        except ValueError as error:
            raise RunError(f"{path}: constraints.{str(name)[:80]!r} holds {error}"[:900]) from error
        constraints.append(Constraint(name=str(name), low=plain.get("min"), high=plain.get("max")))
    return tuple(constraints)


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """Holds how far each point of a roster breaks each constraint of its study."""

    constraints: tuple[Constraint, ...]
    violation: _Values
    """(P, C); 0 or below is kept."""

    study_vector: str = ""
    """The cost vector that `cost` means in the study."""

    def allows(self, *, score: float, cost: float, vector: str) -> bool:
        """Says whether a score, and a cost under a vector, keep the bounds on them."""
        values = {SCORE: score, f"{OF_VECTOR}{vector}": cost}
        if vector == self.study_vector:
            values[COST] = cost
        return all(
            constraint.violation(values[constraint.name]) <= 0
            for constraint in self.constraints
            if constraint.name in values
        )

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Says of each point, (P,), whether it keeps all constraints."""
        return np.asarray((self.violation <= 0).all(axis=1), np.bool_)

    @property
    def eligible(self) -> NDArray[np.bool_]:
        """Says which points, (P,), a front may hold: the feasible or, without any, all."""
        feasible = self.feasible
        return feasible if feasible.any() else np.ones(len(feasible), np.bool_)

    @property
    def none_feasible(self) -> bool:
        """Says whether there are constraints that no point keeps."""
        return bool(self.constraints) and not self.feasible.any()

    @property
    def breaks(self) -> list[str]:
        """Names the constraints that each point breaks, (P,); empty where it keeps all."""
        return [_names(self.constraints, row) for row in self.violation]

    def front(self, merits: _Values, costs: _Values) -> NDArray[np.bool_]:
        """Marks the points, (P,), that no other eligible point beats; merits and costs are (P,)."""
        on_front = self.eligible.copy()
        on_front[on_front] = nondominated(merits[on_front], costs[on_front])
        return on_front

    def chances(self, merits: _Values, costs: _Values) -> _Values:
        """Says how often each point is on the front: merits and costs (P, B), chances (P,).

        NaN without resamples, 0 where it may not be.
        """
        if merits.shape[1] < 2:
            return np.full(len(merits), np.nan)
        eligible = self.eligible
        if eligible.all():  # no copies of arrays that may be large
            return front_chance(merits, costs)
        chances = np.zeros(len(eligible))
        chances[eligible] = front_chance(merits[eligible], costs[eligible])
        return chances


def judge(run: Run, run_roster: Roster, seen: Outcomes) -> Judged:
    """Judges the points of a roster by their trials' recorded values on selection.

    `seen` are the outcomes on selection, whose routes tell dead experts; without routes the
    recorded shares do.

    Raises:
        RunError: the trials lack a value that a constraint names.
    """
    constraints = constraints_of(run)
    if not constraints:
        return Judged(constraints=(), violation=np.empty((len(run_roster.points), 0)))
    values = {name: _recorded(run, name) for name in reported(constraints)}
    shares = _shares(run, run_roster, seen) if len(values) < len(constraints) else {}
    rows = []
    for point in run_roster.points:
        means = {
            name: fmean(of_trial[key] for key in point.keys) for name, of_trial in values.items()
        }
        excess = violations(
            constraints, means, [shares[key] for key in point.keys if key in shares]
        )
        rows.append([excess[constraint.name] for constraint in constraints])
    return Judged(
        constraints=constraints,
        violation=np.asarray(rows, np.float64),
        study_vector=str(run.provenance["cost_vector"]),
    )


def _recorded(run: Run, name: str) -> dict[str, float]:
    """Gives by trial the value on selection that a constraint bounds."""
    column = f"{SELECTION}_{name}"
    if column not in run.trials:
        raise RunError(
            f"{run.path / STUDY_FILE}: constraints.{name[:80]!r} names nothing that "
            f"trials.parquet holds for {SELECTION}"
        )
    keys = run.trials["key"].astype(str)
    return dict(zip(keys, run.trials[column].astype(float), strict=True))


def _shares(run: Run, run_roster: Roster, seen: Outcomes) -> dict[str, list[float]]:
    """Gives by trial the share of selection that each of its own set's experts runs for."""
    runs = alternatives(run).runs
    if run.routed:
        shares = [np.bincount(routes, minlength=len(runs)) / routes.size for routes in seen.routes]
    else:
        shares = list(recorded_shares(run, run_roster, SELECTION))
    return {
        key: (share @ runs)[list(members)].tolist()
        for key, members, share in zip(run_roster.keys, seen.own, shares, strict=True)
    }


def judge_curve(
    judged: Judged,
    point: int,
    curve: BiasCurve,
    trials: Sequence[BiasCurve],
    vectors: Mapping[str, CostVector],
) -> tuple[str, ...]:
    """Names the constraints that a point breaks under each bias of its curve, (G,).

    `curve` is the mean over the point's seeds on selection, `trials` are those of its seeds, and
    `vectors` price the routes of its own set. What shares do not tell (a single metric) is judged
    as the point without a bias is.
    """
    columns = []
    for place, constraint in enumerate(judged.constraints):
        values = _along(constraint.name, curve, trials, vectors, judged.study_vector)
        if values is None:
            columns.append([float(judged.violation[point, place])] * len(curve.biases))
        else:
            columns.append([constraint.violation(value) for value in values.tolist()])
    rows = zip(*columns, strict=True) if columns else ([()] * len(curve.biases))
    return tuple(_names(judged.constraints, row) for row in rows)


def _along(
    name: str,
    curve: BiasCurve,
    trials: Sequence[BiasCurve],
    vectors: Mapping[str, CostVector],
    study_vector: str,
) -> _Values | None:
    """Gives what a constraint bounds under each bias, (G,); None where curves do not tell."""
    if name == SCORE:
        return curve.scores
    if name == DEAD_EXPERTS:
        dead = [
            (_by_expert(trial_curve.shares, vectors) < LEAST_SHARE).sum(axis=1)
            for trial_curve in trials
        ]
        return np.asarray(np.mean(dead, axis=0), np.float64)
    if name != COST and not name.startswith(OF_VECTOR):
        return None
    vector = study_vector if name == COST else name.removeprefix(OF_VECTOR)
    if vector not in vectors:
        return None
    return np.asarray(vectors[vector].mean(curve.shares), np.float64)


def _by_expert(shares: _Values, vectors: Mapping[str, CostVector]) -> _Values:
    """Gives the shares of examples that experts run for, (G, K), of shares by route."""
    vector = next(iter(vectors.values()))
    return expert_shares(shares, vector.paths, len(vector.experts)) if vector.paths else shares


def _names(constraints: Sequence[Constraint], row: Any) -> str:
    broken = [
        constraint.name
        for constraint, value in zip(constraints, row, strict=True)
        if not value <= 0
    ]
    return ", ".join(broken)


def bounds(constraints: Sequence[Constraint]) -> str:
    """Gives the constraints in words: `cost at most 6, score at least 0.8`; empty without any."""
    return ", ".join(map(str, constraints))
