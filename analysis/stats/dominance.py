"""Computes with moocore which points beat which, and the area that a set of points dominates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpc_router.costs import CostVector

_Values = NDArray[np.float64]


def nondominated(scores: _Values, costs: _Values) -> NDArray[np.bool_]:
    """Marks points that no other beats in score without costing more.

    Of equal points the first is marked.

    Raises:
        ValueError: a score or a cost is NaN or infinite.
    """
    import moocore

    table = _finite(scores, costs)
    return np.asarray(moocore.is_nondominated(table, maximise=[True, False]), np.bool_)


def contenders(scores: _Values, costs: _Values, *, near: float) -> NDArray[np.bool_]:
    """Marks the points that no other beats by more than `near` in cost: (P,) twice -> (P,).

    Those of the front are among them, also where each cost is wrong by half of `near`. Where `near`
    is 0 all are marked, for a point would beat itself.
    """
    if near <= 0:
        return np.ones(len(costs), np.bool_)
    order = np.argsort(costs, kind="stable")
    best_up_to = np.maximum.accumulate(np.concatenate([[-np.inf], scores[order]]))
    cheaper = np.searchsorted(costs[order], costs - near, side="right")
    return np.asarray(best_up_to[cheaper] < scores, np.bool_)


def hypervolume(scores: _Values, costs: _Values, *, reference: tuple[float, float]) -> float:
    """Gives the area between points and reference (score, cost); points outside it add nothing.

    Raises:
        ValueError: a score or a cost is NaN or infinite.
    """
    import moocore

    table = _finite(scores, costs)
    inside = (table[:, 0] > reference[0]) & (table[:, 1] < reference[1])
    if not inside.any():
        return 0.0
    return float(moocore.hypervolume(table[inside], ref=reference, maximise=[True, False]))


def _finite(scores: _Values, costs: _Values) -> _Values:
    table = np.column_stack([scores, costs]).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        score, cost = table[bad[0]]
        raise ValueError(
            f"point {bad[0]} has score {score} and cost {cost}; a front needs finite numbers: "
            "leave the point out"
        )
    return table


def default_reference(singles: _Values, vector: CostVector) -> tuple[float, float]:
    """Gives the reference: a score under the worst expert's, and the dearest expert's cost.

    The score is the worst single expert's less a tenth of their range; the cost is with router.

    Scores that are not known (NaN) are passed over.
    """
    worst, best = float(np.nanmin(singles)), float(np.nanmax(singles))
    return worst - (best - worst) / 10, vector.router + max(vector.routed)
