"""Says which routers a run keeps whose study keeps those of its fronts alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.fronts.constraints import Judged, judge
from analysis.fronts.objectives import objective_front, own_objectives
from analysis.fronts.points import Measured, seed_draws
from analysis.runs.load import Run
from analysis.runs.outcomes import Outcomes, Point, Roster, outcomes, roster
from mpc_router.run_names import ALL, FRONT, SELECTION
from mpc_router.tasks import merit

_DIGITS = 9
"""It is the number of digits up to which two sums of the same values in another order agree."""


def kept_roster(run: Run) -> Roster:
    """Gives the roster with the points alone whose routers the run keeps; see `kept_points`.

    Raises:
        RunError: no point can be judged, or a table lacks rows.
    """
    if run.study.get("checkpoints", ALL) != FRONT:
        return roster(run)
    names = kept_points(run)
    points = tuple(point for point in roster(run).points if point.point in names)
    return replace(roster(run), points=points)


def kept_points(run: Run) -> set[str]:
    """Names the points that are on the front under one of the run's own cost vectors.

    These are the fronts of `survey`, with the study's constraints, and that of its own objectives.
    Vectors that were given later price no front here, for routers are removed once. Of points that
    are equal those that route some example of selection elsewhere stay too, and of those that route
    all alike the first, which is the one that any front names.

    Raises:
        RunError: no point can be judged, or a table lacks rows.
    """
    run_roster = roster(run)
    seen = outcomes(run, run_roster, SELECTION, need_routes=False)
    judged, seeds = judge(run, run_roster, seen), seed_draws(run_roster, 0, 0)
    weights = np.ones((1, len(seen.labels)), np.float32)
    on_front = np.zeros(len(run_roster.points), np.bool_)
    firsts = _firsts_of_alike(run_roster.points, seen, judged.eligible)
    for name in run.cost_vectors.keys() - set(run.provenance.get("cost_vectors_given", ())):
        measured = Measured.of(run, run_roster, seen, run.cost_vector(name), seeds, weights)
        merits, costs = merit(run.task, measured.score[:, 0]), measured.cost[:, 0]
        on_front |= judged.front(merits, costs)
        twins = _front_with_twins(judged, merits.round(_DIGITS), costs.round(_DIGITS))
        on_front |= twins & firsts
    names = {point.point for point, held in zip(run_roster.points, on_front, strict=True) if held}
    if own_objectives(run) and run.routed:
        table = objective_front(run, resamples=0)
        names |= set(table["point"][table["on_front"]])
    return names


def _front_with_twins(
    judged: Judged, merits: NDArray[np.float64], costs: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Marks the front's points, (P,), and those of the same merit and cost as one of them.

    Another sum of the same values may rank either of two such points first.
    """
    on_front = judged.front(merits, costs)
    for merit_there, cost_there in zip(merits[on_front], costs[on_front], strict=True):
        on_front |= judged.eligible & (merits == merit_there) & (costs == cost_there)
    return on_front


def _firsts_of_alike(
    points: Sequence[Point], seen: Outcomes, eligible: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Marks, (P,), the first eligible one of points whose trials do the same with every example.

    In a run that knows no routes every point is one.
    """
    firsts, deeds = eligible.copy(), set()
    if not len(seen.routes):
        return firsts
    end = 0
    for number, point in enumerate(points):
        lanes = slice(end, end := end + len(point.keys))
        deed = hashlib.sha256()
        for values in (seen.set_of, seen.routes, seen.predictions):
            deed.update(np.ascontiguousarray(values[lanes]).tobytes())
        firsts[number] &= deed.digest() not in deeds
        if firsts[number]:
            deeds.add(deed.digest())
    return firsts
