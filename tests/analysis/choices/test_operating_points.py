from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.choices.operating_points import bias_curves, cascades
from analysis.fronts.survey import points
from analysis.runs.load import Run, RunError, load_run
from mpc_router.tasks import evaluate
from tests.analysis.conftest import WriteRun
from tests.analysis.several_sets import two_sets


@pytest.fixture(scope="module")
def mixed(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return two_sets(run_folder, tmp_path_factory.mktemp("mixed") / "run")


@pytest.mark.parametrize("which", ["run", "mixed"])
def test_at_bias_zero_every_trial_is_the_trial(which: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(which)
    found = bias_curves(run)
    rows = run.trials.set_index("key")
    assert set(found.trials) == set(rows.index)
    for key, pair in found.trials.items():
        for split, curve in zip(("selection", "validation"), pair, strict=True):
            here = int(np.flatnonzero(curve.biases == 0)[0])
            assert curve.scores[here] == pytest.approx(rows.loc[key, f"{split}_score"], abs=1e-12)
            assert curve.costs[here] == pytest.approx(rows.loc[key, f"{split}_cost"], abs=1e-12)


def test_a_points_curve_goes_through_the_point(run: Run) -> None:
    found = bias_curves(run, vector="mpc_seconds_as_if")
    known = points(run, vector="mpc_seconds_as_if", resamples=4).set_index("point")
    for point, curve in zip(found.points, found.quoted, strict=True):
        here = int(np.flatnonzero(curve.biases == 0)[0])
        assert curve.scores[here] == pytest.approx(known.loc[point.point, "score"])
        assert curve.costs[here] == pytest.approx(known.loc[point.point, "cost"])


def test_the_front_over_curves_covers_that_of_the_points_where_both_were_chosen(run: Run) -> None:
    front = bias_curves(run, count=9).front()
    for _, row in points(run, resamples=4).iterrows():
        assert any(
            one.chosen_score >= row["selection_score"] - 1e-12
            and one.chosen_cost <= row["selection_cost"] + 1e-12
            for one in front
        )


def test_quoted_on_selection_the_two_curves_are_one(run: Run) -> None:
    found = bias_curves(run, split="selection", count=5)
    assert found.chosen[0].scores == pytest.approx(found.quoted[0].scores)


def test_a_regression_has_curves_and_no_cascades(written: WriteRun) -> None:
    run = load_run(written("stsb", task="stsb"))
    assert len(bias_curves(run, count=5).points) == 4
    with pytest.raises(RunError, match="needs classes"):
        cascades(run)


def test_points_of_two_sets_have_shares_over_their_own_experts(mixed: Run) -> None:
    found = bias_curves(mixed, count=5)
    widths = {
        point.point: curve.shares.shape[1]
        for point, curve in zip(found.points, found.quoted, strict=True)
    }
    assert widths == {"p0": 3, "p1": 3, "p2": 2, "p3": 3}


def test_every_set_of_experts_has_its_cascades(mixed: Run) -> None:
    found = cascades(mixed, levels=3)
    assert set(found) == {"e0", "e1"}
    assert max(expert for one in found["e1"].cascades for expert in one.chain) == 1


def test_the_singles_among_the_cascades_are_the_single_experts(run: Run) -> None:
    front = cascades(run, levels=2)["e0"]
    rows = run.experts[run.experts["split"] == "validation"].sort_values("example")
    labels = run.examples[run.examples["split"] == "validation"].sort_values("example")["label"]
    for place, one in enumerate(front.cascades):
        if len(one.chain) == 1:
            said = rows[rows["expert"] == one.chain[0]]["prediction"].to_numpy(np.float64)
            score = evaluate(run.task, said[None], labels.to_numpy(np.float64))["score"][0]
            assert front.quoted.scores[place] == pytest.approx(score)
            assert front.quoted.costs[place] == run.cost_vector().experts[one.chain[0]]
    assert {one.chain for one in front.cascades} == {(0,), (1,), (2,)}


def test_a_point_that_failed_has_no_curve(written: WriteRun) -> None:
    folder = written("one_failed", status={(0, 1): "FAILED"}, reasons={"FAILED": "NaN in task"})
    found = bias_curves(load_run(folder), count=3)
    assert [point.point for point in found.points] == ["p1", "p2", "p3"]
