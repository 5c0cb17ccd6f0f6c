"""Tests whether points differ by more than seeds do; for runs of few points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.runs.load import Run
from analysis.runs.outcomes import roster
from analysis.stats.seed_blocks import Blocks, block_test

_Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Holds how far points lie apart in one measure, and how far seeds do."""

    name: str
    """`score` or `cost`."""

    test: Blocks
    noise: float
    """Standard deviation between the seeds of a point, pooled over points."""


def effects(run: Run, *, split: str | None = None, vector: str | None = None) -> list[Effect]:
    """Tests score and cost of the run's points on a split, over seeds that all points have.

    Empty where there are fewer than two points, or seeds in common.
    """
    name, costs = run.split(split), run.cost_vector(vector)
    points = roster(run).points
    common = sorted(set.intersection(*(set(point.seeds) for point in points)))
    if len(points) < 2 or len(common) < 2:
        return []
    measured = []
    for measure, column in (("score", f"{name}_score"), ("cost", f"{name}_cost_{costs.name}")):
        of_trial = dict(zip(run.trials["key"].astype(str), run.trials[column], strict=True))
        values = np.array(
            [
                [of_trial[point.keys[point.seeds.index(seed)]] for seed in common]
                for point in points
            ],
            np.float64,
        )
        if np.isfinite(values).all():
            measured.append(_effect(measure, values))
    return measured


def _effect(name: str, values: _Values) -> Effect:
    """Tests values (P, S), one row a point, one column a seed."""
    return Effect(
        name=name,
        test=block_test(values),
        noise=float(np.sqrt(values.var(axis=1, ddof=1).mean())),
    )
