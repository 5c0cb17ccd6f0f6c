"""Fronts over other objectives than score and cost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from analysis.figures.objectives import _pairs, objective_pictures
from analysis.fronts.objectives import objective_front, objective_yardsticks, own_objectives
from analysis.fronts.survey import survey
from analysis.report._tables import objective_table
from analysis.report.notices import notices
from analysis.report.page import _render
from analysis.runs.load import Run, RunError, load_run
from tests.analysis.conftest import WriteRun

pytestmark = pytest.mark.usefixtures("quick_reports")

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


Told = Callable[[dict[str, str]], Run]


@pytest.fixture
def told(written: WriteRun, tmp_path: Path) -> Told:
    """`told(objectives)`: a run on MRPC whose study had these."""

    def made(objectives: dict[str, str]) -> Run:
        folder = Path(
            shutil.copytree(written("mrpc", task="mrpc"), tmp_path / "-".join(objectives))
        )
        file = folder / "provenance.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "objectives": objectives}))
        return load_run(folder)

    return made


@pytest.mark.slow
def test_the_report_draws_two_objectives_with_their_front(told: Told) -> None:
    run = told({"f1": "max", "cost_mpc_seconds_as_if": "min"})
    page = _render(run)
    assert "Which are worth having by the objectives of the study?" in page
    assert "optimises f1 (max), cost mpc seconds as if (min)" in page
    table = objective_front(run, resamples=20)
    yards = objective_yardsticks(run, "validation")
    (chart,) = objective_pictures(run, table, yards, "validation", width=300).values()
    spec = chart.to_dict()
    titles = {
        layer["encoding"][axis]["title"]
        for layer in spec["layer"]
        for axis in ("x", "y")
        if axis in layer["encoding"] and "title" in layer["encoding"][axis]
    }
    assert titles == {"f1 on validation (max)", "cost (s, mpc_seconds_as_if; min)"}
    drawn = [row for data in spec["datasets"].values() for row in data]
    rows = {row["point"]: row for row in drawn if "point" in row}
    assert {row["expert"] for row in drawn if row["kind"] == "experts"} == set(run.expert_names)
    assert any(row["kind"] == "random mix" for row in drawn)
    for row in table.to_dict("records"):
        mine = rows[row["point"]]
        assert (mine["kind"] == "front") == row["on_front"]
        assert mine["x"] == pytest.approx(row["cost_mpc_seconds_as_if"], rel=1e-5)
        assert mine["y"] == pytest.approx(row["f1"], rel=1e-5)
        assert mine["y_low"] <= mine["y"] <= mine["y_high"]
    assert any(layer["mark"]["type"] == "line" for layer in spec["layer"])


def test_three_objectives_are_a_picture_for_every_two_and_a_row_for_every_point_of_the_front(
    told: Told,
) -> None:
    ways = {"f1": "max", "accuracy": "max", "cost": "min"}
    run = told(ways)
    table = objective_front(run, resamples=0)
    assert _pairs(ways) == [("accuracy", "f1"), ("cost", "f1"), ("cost", "accuracy")]
    drawn = objective_pictures(run, table, None, "validation", width=300)
    assert len(drawn) == 3
    for chart in drawn.values():
        assert all(layer["mark"]["type"] != "line" for layer in chart.to_dict()["layer"])
    shown = objective_table(run, table)
    assert [column.heading for column in shown.columns[1:-1]] == list(ways)
    assert len(shown.rows) == table["on_front"].sum()
    best = table.loc[table["on_front"], "f1"].max()
    assert shown.rows[0][1].text == f"{best:.3f}"
    assert shown.rows[0][1].below == ("",)  # without resamples there is no interval


def test_yardsticks_are_the_experts_and_the_coins_between_them(told: Told) -> None:
    run = told({"score": "max", "accuracy": "max", "cost": "min"})
    yards = objective_yardsticks(run, "validation")
    found = survey(run, resamples=0)
    alone = found.singles.sort_values("cost")
    mine = yards[yards["expert"] != ""]
    assert mine["cost"].tolist() == pytest.approx(alone["cost"].tolist())
    assert mine["score"].tolist() == pytest.approx(alone["score"].tolist())
    assert yards["cost"].is_monotonic_increasing
    places = mine.index.to_numpy()
    for one, other in pairwise(places):  # accuracy of a coin is a line
        between = yards.loc[one:other]
        line = np.interp(between["cost"], mine["cost"], mine["accuracy"])
        assert between["accuracy"].to_numpy() == pytest.approx(line)
    best = np.interp(yards["cost"], found.mix.costs, found.mix.scores[:, 0])
    assert (yards["score"] <= best + 1e-6).all()  # the mix is the best of all pairs


def test_one_objective_is_a_table_without_a_picture(told: Told) -> None:
    page = _render(told({"f1": "max"}))
    assert "optimises f1 (max)" in page
    assert 'id="objectives-0"' not in page


def test_a_study_of_score_and_cost_has_no_section_of_its_own_objectives(
    run: Run, told: Told
) -> None:
    assert own_objectives(run) == {}
    assert own_objectives(told({"cost": "min", "score": "max"})) == {}
    assert 'id="objectives"' not in _render(run)
