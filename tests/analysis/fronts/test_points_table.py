"""Points that are measured a part at a time are to the bit what they are among all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import schema
from analysis.fronts import _points_table
from analysis.fronts.survey import Survey, survey
from analysis.runs.load import load_run
from analysis.stats.dominance import contenders, nondominated
from tests.analysis.conftest import WriteRun

POINTS = tuple((0.1 * number, 0.05 * number) for number in range(7))
RUNS: dict[str, dict[str, Any]] = {
    "several seeds": {"points": POINTS},
    "one seed": {"points": POINTS, "seeds": (3,)},
    "one or several": {
        "points": POINTS,
        "study": {"racing": 1},
        "status": {(number, seed): schema.FAILED for number in range(5) for seed in (1, 2)},
    },
    "a regression": {"points": POINTS, "task": "stsb"},
    "many classes": {"points": POINTS, "task": "mnli"},
    "constraints": {"points": POINTS, "study": {"constraints": {"cost": {"max": 6}}}},
}


def _equal(found: Survey, wanted: Survey) -> None:
    for name in ("points", "front", "barred"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(wanted, name), check_exact=True)
    for name in ("front_scores", "front_costs"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert found.optimism == wanted.optimism
    assert found.hypervolume_interval == wanted.hypervolume_interval


@pytest.mark.parametrize("kind", RUNS)
def test_parts_of_any_size_give_the_table_of_all_at_once(
    written: WriteRun, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(f"parts-{kind.replace(' ', '-')}", **RUNS[kind])
    wanted = survey(load_run(folder), resamples=70)
    assert len(wanted.points) == len(POINTS)
    for size in (1, 3):
        monkeypatch.setattr(_points_table, "_AT_ONCE", size)
        monkeypatch.setattr(_points_table, "_FEW", size)
        _equal(survey(load_run(folder), resamples=70), wanted)


def test_the_front_is_known_before_the_other_points_are_measured(
    written: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written("parts-one-seed", **RUNS["one seed"])
    monkeypatch.setattr(_points_table, "_FEW", 1)
    measured: list[int] = []
    measure = _points_table.Basis.measure

    def counted(basis: _points_table.Basis, numbers: Any) -> _points_table.Part:
        measured.extend(numbers.tolist())
        return measure(basis, numbers)

    monkeypatch.setattr(_points_table.Basis, "measure", counted)
    taken = survey(load_run(folder), resamples=20)
    assert len(taken.front) <= len(measured) < len(POINTS)
    assert len(taken.points) == len(POINTS)
    assert sorted(measured) == list(range(len(POINTS)))  # each once
    shown = taken.points[taken.points["on_front"]].set_index("point")
    columns = taken.front.columns.drop("point")
    pd.testing.assert_frame_equal(
        taken.front.set_index("point")[columns],
        shown.loc[taken.front["point"], columns],
        check_exact=True,
    )


def test_where_all_cost_nothing_all_are_contenders() -> None:
    assert contenders(np.array([0.1, 0.3, 0.2]), np.zeros(3), near=0.0).all()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_costs_are_within_rounding_the_front_is_among_the_contenders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, costs = rng.integers(0, 8, 60) / 8, rng.integers(0, 8, 60) / 8
    near = 1e-6
    kept = contenders(scores, costs + rng.uniform(-near / 2, near / 2, 60), near=near)
    assert not (nondominated(scores, costs) & ~kept).any()
    assert kept.sum() < 60  # and it does leave out
