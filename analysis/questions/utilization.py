"""Measures the use of experts by point: shares, balance, entropies and dead experts.

Shares are hard counts on a named split. Letters: K experts, A alternatives of the run (its experts,
and the paths of several of them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run
from analysis.runs.outcomes import Roster, outcomes, recorded_shares, roster

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

DEAD_SHARE: Final = 0.01
"""An expert is dead in a point where it gets less than this share of the examples."""


def load_cv2(share: _Values) -> _Values:
    """Gives the squared coefficient of variation of load over the last axis (variance by K).

    0 when the experts are used evenly, K - 1 when one of them takes everything.
    """
    mean = share.mean(axis=-1)
    return np.asarray(share.var(axis=-1) / np.square(mean))


def _entropy(share: _Values) -> _Values:
    """Gives -sum p log p over the last axis in nats.

    0 log 0 is 0, so one expert alone gives 0.
    """
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.asarray(-(share * logs).sum(axis=-1)) + 0.0


def dead_experts(share: _Values, *, threshold: float = DEAD_SHARE) -> NDArray[np.bool_]:
    """Marks experts that get less than the threshold."""
    return np.asarray(share < threshold)


def utilization(
    run: Run, *, split: str | None = None, threshold: float = DEAD_SHARE
) -> pd.DataFrame:
    """Gives a row a point: its shares, balance, entropies and dead experts.

    Columns are label, n, share, runs, load_cv2, share_entropy, gate_entropy and dead (list).

    `share` is a list over all alternatives of the run, `runs` over its experts: the share of the
    examples that an expert runs for. Where a route is an expert both are the same. Load CV^2 is of
    `runs`, over the experts of the point's pool.

    Shares are means over replicates; load CV^2 and entropies are taken by trial and then averaged,
    so replicates that collapse onto different experts do not pass for balance. `gate_entropy` is
    the mean entropy of the soft gate after the last epoch, NaN where it was not reported.
    `soft_hard_gap` is half the sum over routes of |soft share - hard share|: how far the gate that
    was trained lies from the routes that are run, 0 to 1. `dead`
    names the experts of the point's pool that run for less than the threshold on average, and
    `collapsed` counts the replicates in which one route takes all but less than the threshold.
    """
    import pandas as pd

    run_roster, name = roster(run), run.split(split)
    share = _shares(run, run_roster, name)
    by_expert = share @ alternatives(run).runs
    gates, gaps = _gate_entropy(run, name), _soft_hard_gaps(run, name)
    rows, first = [], 0
    for point in run_roster.points:
        replicates = share[first : first + len(point.keys)]
        loads = by_expert[first : first + len(point.keys)]
        members = list(run.sets[run.set_of_point[point.point]].members)
        first += len(point.keys)
        runs = loads.mean(axis=0)
        soft = [gates.get(key, np.nan) for key in point.keys]
        dead = [k for k in members if dead_experts(runs[k], threshold=threshold)]
        rows.append(
            {
                "point": point.point,
                "label": point.label,
                "n": len(point.keys),
                "share": replicates.mean(axis=0).tolist(),
                "runs": runs.tolist(),
                "load_cv2": float(load_cv2(loads[:, members]).mean()),
                "share_entropy": float(_entropy(replicates).mean()),
                "gate_entropy": float(np.mean(soft)),
                "soft_hard_gap": float(np.mean([gaps.get(key, np.nan) for key in point.keys])),
                "dead": [run.expert_names[k] for k in dead],
                "collapsed": int((replicates.max(axis=-1) > 1 - threshold).sum()),
            }
        )
    return pd.DataFrame(rows)


def _shares(run: Run, run_roster: Roster, split: str) -> _Values:
    """Gives shares (L, A) counted on the routes; without routes as trials reported them."""
    if not run.routed:
        return recorded_shares(run, run_roster, split)
    routes = outcomes(run, run_roster, split).routes
    places = range(len(alternatives(run).experts))
    return np.stack([(routes == place).mean(axis=1) for place in places], axis=-1)


def _gate_entropy(run: Run, split: str) -> dict[str, float]:
    """Gives the entropy by trial, as reported after its last epoch on the split."""
    reports = run.reports[run.reports["split"] == split].sort_values("epoch")
    last = reports.drop_duplicates("key", keep="last")
    return dict(zip(last["key"].astype(str), last["gate_entropy"].astype(float), strict=True))


def _soft_hard_gaps(run: Run, split: str) -> dict[str, float]:
    """Gives the gap by trial, as reported after its last epoch on the split."""
    reports = run.reports[run.reports["split"] == split].sort_values("epoch")
    last = reports.drop_duplicates("key", keep="last")
    return {
        str(key): float(np.abs(np.asarray(gate) - np.asarray(share)).sum() / 2)
        for key, gate, share in zip(last["key"], last["gate"], last["share"], strict=True)
    }
