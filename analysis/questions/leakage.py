"""Measures what running time tells an observer, and what it costs to hide it.

Under secure computation the input is hidden, the time is not: a 4 s and a 200 s expert show the
route, and with it whatever the route depends on. Experts of one cost form one latency class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.fronts.survey import Survey
from analysis.questions.information import (
    PERMUTATIONS,
    chance,
    features,
    mutual_information,
    permuted,
)
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run
from analysis.runs.outcomes import outcomes, roster

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

_BUCKETS: Final = 2
"""Latencies that are shown when costs are padded to buckets instead of one."""


def leakage(run: Run, survey: Survey, *, permutations: int = PERMUTATIONS) -> pd.DataFrame:
    """Measures what the front's points leak through time, cheapest first.

    A row a point: point, label, bits (mutual information of latency class and label, mean over
    replicates), low, high (95 % of what shuffled classes give), p, cost, padded_cost (every example
    padded to the point's dearest class), bucket_cost (the cheapest way to pad to a few classes;
    padding up to the next bucket), bucket_bits (what is then still told).

    Raises:
        RunError: a table lacks rows.
    """
    import pandas as pd

    run_roster = roster(run)
    seen = outcomes(run, run_roster, survey.split)
    label = features(run, seen)["label"]
    price = np.asarray(alternatives(run).price(survey.vector).routed)
    rows: list[dict[str, Any]] = []
    front = {str(row["point"]): row for _, row in survey.front.iterrows()}
    first = 0
    for point in run_roster.points:
        lanes = range(first, first + len(point.keys))
        first += len(point.keys)
        if point.point not in front:
            continue
        bits, shuffled, padded, bucketed, left = [], [], [], [], []
        for lane in lanes:
            paid = price[seen.routes[lane]]
            levels, latency = np.unique(paid, return_inverse=True)
            bits.append(mutual_information(latency, label))
            shuffled.append(permuted(latency, label, permutations=permutations))
            padded.append(survey.vector.router + float(levels[-1]))
            cost, merged = bucket(paid, _BUCKETS)
            bucketed.append(survey.vector.router + cost)
            left.append(mutual_information(merged, label))
        low, high, p = chance(float(np.mean(bits)), np.mean(shuffled, axis=0))
        rows.append(
            {
                "point": point.point,
                "label": point.label,
                "bits": max(0.0, float(np.mean(bits))),
                "low": low,
                "high": high,
                "p": p,
                "cost": float(front[point.point]["cost"]),
                "padded_cost": float(np.mean(padded)),
                "bucket_cost": float(np.mean(bucketed)),
                "bucket_bits": max(0.0, float(np.mean(left))),
            }
        )
    return pd.DataFrame(rows).sort_values("cost", ignore_index=True)


def bucket(paid: _Values, buckets: int) -> tuple[float, NDArray[np.intp]]:
    """Finds the cheapest padding of costs (N,) to a few levels: its mean, and each level (N,).

    Every cost is padded up to a level at or above it; the levels are costs that occur. All ways are
    tried: there are few experts.
    """
    from itertools import combinations

    levels = np.unique(paid)
    best: tuple[float, NDArray[np.intp]] | None = None
    for count in range(1, min(buckets, len(levels)) + 1):
        for chosen in combinations(levels[:-1], count - 1):
            shown = np.array([*chosen, levels[-1]])
            place = np.searchsorted(shown, paid, side="left")
            mean = float(shown[place].mean())
            if best is None or mean < best[0]:
                best = mean, place
    assert best is not None
    return best
