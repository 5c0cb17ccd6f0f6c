"""Cascades, headroom and calibration where trials have several sets of experts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.choices import operating_points
from analysis.fronts.survey import Survey, survey
from analysis.questions._calibration import calibration
from analysis.questions.answers import answers
from analysis.questions.headroom import against_cascades, headroom
from analysis.report._sentences import calibration_sentence
from analysis.report.page import _render
from analysis.runs.load import Run, RunError
from tests.analysis.several_sets import a_set_a_trial, two_sets

pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def mixed(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return two_sets(run_folder, tmp_path_factory.mktemp("several") / "mixed")


@pytest.fixture(scope="module")
def of_mixed(mixed: Run) -> Survey:
    return survey(mixed, resamples=30)


@pytest.fixture(scope="module")
def headroom_of_mixed(mixed: Run, of_mixed: Survey) -> pd.DataFrame:
    return headroom(mixed, of_mixed)


@pytest.fixture(scope="module")
def of_joint(joint: Run) -> Survey:
    return survey(joint, resamples=30)


@pytest.fixture(scope="module")
def joint(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return a_set_a_trial(run_folder, tmp_path_factory.mktemp("several") / "joint")


def test_every_set_has_its_cascades_under_its_name(
    mixed: Run, of_mixed: Survey, headroom_of_mixed: pd.DataFrame
) -> None:
    taken, table = of_mixed, headroom_of_mixed
    fronts = operating_points.cascades(mixed, split=taken.split, vector=taken.vector.name)
    mine = table[table["kind"] == "cascade"]
    assert set(mine["pool"]) == {"pool of 3", "pool of 2"}
    for name, pool in (("e0", "pool of 3"), ("e1", "pool of 2")):
        rows = mine[mine["pool"] == pool]
        assert sorted(rows["score"]) == pytest.approx(sorted(fronts[name].quoted.scores))
        assert sorted(rows["cost"]) == pytest.approx(sorted(fronts[name].quoted.costs))
        assert rows["label"].str.endswith(f"[{pool}]").all()
    two = mine[mine["pool"] == "pool of 2"]
    assert not two["label"].str.contains("large").any()
    assert (mine[~mine["label"].str.contains("then")]["over_mix"] <= 1e-12).all()


def test_one_set_gives_what_it_gave_alone(run: Run, headroom_of_mixed: pd.DataFrame) -> None:
    """The pool of three is that of the plain run: its cascades, their coin and their oracle."""
    alone = headroom(run, survey(run, resamples=30))
    both = headroom_of_mixed
    alone = alone[alone["kind"] == "cascade"]
    three = both[both["pool"] == "pool of 3"]
    assert set(alone["pool"]) == {""}
    for name in ("score", "cost", "over_mix", "over_mix_low", "selection_over_mix", "headroom"):
        assert three[name].to_numpy() == pytest.approx(alone[name].to_numpy(), nan_ok=True)


def test_a_gate_is_held_against_cascades_of_its_own_experts(mixed: Run, of_mixed: Survey) -> None:
    headrooms = against_cascades(mixed, of_mixed)
    assert {each.point for each in headrooms} <= set(of_mixed.front["point"])
    for each in headrooms:
        assert each.cascade.endswith("[pool of 2]" if each.point == "p2" else "[pool of 3]")


def test_an_expert_that_sets_share_is_calibrated_once(
    run: Run, mixed: Run, of_mixed: Survey
) -> None:
    alone = calibration(run, survey(run, resamples=30))
    both = calibration(mixed, of_mixed)
    assert both["label"].tolist()[:3] == ["tiny", "base", "large"]
    for name in ("temperature", "before", "after", "low", "high"):
        known = alone[name].to_numpy(np.float64)
        assert both[name].to_numpy(np.float64) == pytest.approx(known, nan_ok=True)


@pytest.mark.slow
def test_joint_trials_have_gates_and_no_cascades_and_the_reason_is_said(
    joint: Run, of_joint: Survey
) -> None:
    taken = of_joint
    assert taken.joint
    table = headroom(joint, taken)
    assert set(table["kind"]) == {"gate"}
    assert len(table) == len(taken.front)
    with pytest.raises(RunError, match="experts train with each trial"):
        against_cascades(joint, taken)
    assert len(operating_points.cascades(joint, levels=2)) == len(joint.trials)
    found = answers(joint, taken, deep=False)
    assert set(found.unanswered) == {"gates beside cascades"}
    page = _render(joint)
    assert "cascades, which would be others for every such trial, are not shown" in page


def test_joint_trials_are_calibrated_each_with_its_own_experts(
    joint: Run, of_joint: Survey
) -> None:
    taken = of_joint
    table = calibration(joint, taken)
    assert set(table["kind"]) == {"point"}
    assert table["label"].tolist() == taken.front["label"].tolist()
    accuracy = taken.front["score"].to_numpy()  # the task's score is its accuracy
    assert table["accuracy"].to_numpy() == pytest.approx(accuracy)
    said = calibration_sentence(answers(joint, taken, deep=False))
    assert "each trial with its own experts" in said


def test_the_report_of_two_sets_says_that_each_has_its_own(mixed: Run, run: Run) -> None:
    said = "Every set of experts has cascades of its own"
    assert said in _render(mixed)
    assert said not in _render(run)
