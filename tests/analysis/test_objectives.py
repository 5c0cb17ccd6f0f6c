"""Fronts over other objectives than score and cost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from analysis.fronts import survey
from analysis.load import Run, RunError, load_run
from analysis.notices import notices
from analysis.objectives import objective_front
from tests.analysis.conftest import WriteRun

ENDS = ("", "_low", "_high")


def test_under_score_and_cost_it_is_the_front_of_the_survey(run: Run) -> None:
    found = objective_front(run, resamples=60)
    taken = survey(run, resamples=60).points
    assert found["point"].tolist() == taken["point"].tolist()
    assert found["on_front"].tolist() == taken["on_front"].tolist()
    assert found["chance"].to_numpy() == pytest.approx(taken["chance"].to_numpy())
    for name in (*(f"{axis}{end}" for axis in ("score", "cost") for end in ENDS), "selection_cost"):
        assert found[name].to_numpy() == pytest.approx(taken[name].to_numpy())


def test_three_objectives_are_those_the_trials_recorded_and_their_front_is_that_of_all_pairs(
    written: WriteRun,
) -> None:
    run = load_run(written("mrpc", task="mrpc"))
    ways = {"accuracy": "max", "f1": "max", "cost_mpc_seconds_as_if": "min"}
    found = objective_front(run, objectives=ways, resamples=10).set_index("point")
    means = run.trials.groupby("point").mean(numeric_only=True).loc[found.index]
    for name in ways:
        assert found[name].to_numpy() == pytest.approx(means[f"validation_{name}"].to_numpy())
    losses = np.column_stack(
        [means[f"selection_{name}"] * (-1 if way == "max" else 1) for name, way in ways.items()]
    )
    free = [not ((losses <= row).all(1) & (losses < row).any(1)).any() for row in losses]
    assert found["on_front"].tolist() == free


def test_one_objective_has_one_best_point(run: Run) -> None:
    found = objective_front(run, objectives={"cost": "min"}, resamples=40)
    (best,) = np.flatnonzero(found["on_front"])
    assert best == found["selection_cost"].argmin()
    assert found["chance"].sum() >= 1


def test_more_objectives_take_no_point_from_the_front(run: Run) -> None:
    """Points are distinct, so what nothing beats on two axes nothing beats on three."""
    two = objective_front(run, objectives={"score": "max", "cost": "min"}, resamples=0)
    three = objective_front(
        run,
        objectives={"score": "max", "cost": "min", "cost_mpc_seconds_as_if": "min"},
        resamples=0,
    )
    assert (three["on_front"] | ~two["on_front"]).all()
    assert three["chance"].isna().all()


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ({"speed": "max"}, "no objective 'speed'; allowed are score, accuracy, cost"),
        ({"score": "up"}, "objective score is 'up'; allowed are max and min"),
        ({}, "no objective is given"),
    ],
)
def test_objectives_that_no_trial_has_are_refused(
    run: Run, objectives: dict[str, str], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        objective_front(run, objectives=objectives)


def test_a_study_of_other_objectives_is_told_its_own_front(
    run_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "other"))
    file = folder / "provenance.json"
    facts = json.loads(file.read_text())
    facts["objectives"] = {"accuracy": "max", "cost_mpc_seconds_as_if": "min"}
    file.write_text(json.dumps(facts))
    run = load_run(folder)
    front = objective_front(run, resamples=0)
    said = [one.text for one in notices(run, survey(run, resamples=20)) if "objectives" in one.text]
    (text,) = said
    assert f"on theirs {front['on_front'].sum()} of {len(front)} points lie" in text
    for point in front.loc[front["on_front"], "point"]:
        assert point in text
