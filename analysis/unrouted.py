"""Runs without routing tables: what their trials wrote themselves, where no route can be counted.

Letters: L trials, K experts of the run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.load import Run, RunError
from analysis.outcomes import Roster

Values = NDArray[np.float64]


def recorded_scores(run: Run, whole: Roster, split: str) -> Values:
    """(L,) each trial's own score on a split.

    Raises:
        RunError: a trial of the roster has none.
    """
    said = run.trials.set_index("key")[f"{split}_score"].astype(float)
    scores = np.asarray(said.reindex(list(whole.keys)), np.float64)
    return _finite(run, "trials", scores, whole, "score")


def recorded_shares(run: Run, whole: Roster, split: str) -> Values:
    """(L, K) the hard routes' shares that each trial reported after its last epoch on a split.

    Raises:
        RunError: a trial of the roster has none, or of another number of experts than its set.
    """
    reports = run.reports[run.reports["split"] == split].sort_values("epoch")
    last = reports.drop_duplicates("key", keep="last")
    said = dict(zip(last["key"].astype(str), last["share"], strict=True))
    found = np.full((len(whole.keys), len(run.expert_names)), np.nan)
    points = [point.point for point in whole.points for _ in point.keys]
    for lane, (key, point) in enumerate(zip(whole.keys, points, strict=True)):
        members = run.sets[run.set_of_point[point]].members
        share = said.get(key)
        if share is not None and len(share) == len(members):
            found[lane] = 0
            found[lane, list(members)] = share
    return _finite(run, "reports", found, whole, "share of every expert")


def _finite(run: Run, table: str, values: Values, whole: Roster, what: str) -> Values:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise RunError(
            f"{run.path / f'{table}.parquet'}: trial {whole.keys[bad[0][0]]} has no {what}, and "
            "without a routing table it cannot be found otherwise; "
            f"`python -m sweeps.run --resume {run.path}` writes the tables anew"
        )
    return values
