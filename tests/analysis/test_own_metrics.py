"""Runs of a task of one's own: many classes, metrics of single labels and of outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.export import to_csv
from analysis.fronts.comparison import compare_runs
from analysis.fronts.objectives import objective_front
from analysis.fronts.survey import survey
from analysis.questions.answers import answers
from analysis.report.page import write_report
from analysis.runs.load import Run, RunError, load_run
from mpc_router.tasks import task_of
from tests.analysis.conftest import Recipe, WriteRun, write_run

HOSTILE = "</script><b>&\"x'"
LABELS = ["re_fund", HOSTILE, "v1.2", "other"]
METRICS = ["accuracy", "macro_f1", *(f"f1:{label}" for label in LABELS[:3]), "log_loss", "ece"]
OWN: dict[str, Any] = {
    "name": "tickets",
    "text": "body",
    "labels": LABELS,
    "metrics": METRICS,
    "score": "macro_f1",
}
STUDY = {
    "objectives": {"f1:re_fund": "max", "log_loss": "min", "cost": "min"},
    "constraints": {"f1:re_fund": {"min": 0.1}},
}


@pytest.fixture(scope="session")
def own(written: WriteRun) -> Run:
    folder = written("own", definition=task_of(OWN), study=STUDY, examples=80)
    return load_run(folder)


def test_metrics_are_columns_under_their_names(own: Run) -> None:
    for split in ("selection", "validation"):
        assert {f"{split}_{name}" for name in ("score", *METRICS)} <= set(own.trials)
    assert set(METRICS) <= set(own.reports)
    assert own.trials["validation_score"].equals(own.trials["validation_macro_f1"])


def test_points_score_the_named_metric_under_resampled_examples(own: Run) -> None:
    taken = survey(own)
    recorded = own.trials.groupby("point")["validation_macro_f1"].mean()
    shown = taken.points.set_index("point")["score"]
    pd.testing.assert_series_equal(shown, recorded, check_names=False, atol=1e-12)
    assert (taken.points["score_low"] < taken.points["score_high"]).all()
    assert set(taken.majority) == {"score", *METRICS} - {"log_loss", "ece"}
    assert taken.singles["score"].is_monotonic_increasing


def test_a_front_by_metrics_of_a_label_and_of_outputs(own: Run) -> None:
    table = objective_front(own, resamples=20)
    recorded = own.trials.groupby("point")[["validation_f1:re_fund", "validation_log_loss"]].mean()
    for name in ("f1:re_fund", "log_loss"):
        values = table.set_index("point")[name]
        expected = recorded[f"validation_{name}"]
        pd.testing.assert_series_equal(values, expected, check_names=False, atol=1e-12)
    answered = answers(own, survey(own), deep=False)
    assert answered.objectives is not None
    why = answered.unanswered["yardsticks under the study's own objectives"]
    assert why == (
        "log_loss needs the experts' probabilities; a coin that mixes experts has predictions only"
    )


@pytest.mark.usefixtures("quick_reports")
def test_labels_cannot_break_the_page_and_keep_their_signs(own: Run, tmp_path: Path) -> None:
    text = write_report(own, tmp_path / "report.html").read_text("utf-8")
    assert HOSTILE not in text
    assert "<b>&" not in text
    assert "f1:\\u003c" not in text.split("<script")[0]
    for words in ("f1:re_fund (max), log loss (min), cost (min)", "f1:re_fund at least 0.1"):
        assert words in text
    assert "the score is macro F1 on validation" in text


def test_tables_as_csv_have_the_same_columns(own: Run, tmp_path: Path) -> None:
    files = {path.stem: path for path in to_csv(own, tmp_path / "tables")}
    trials = pd.read_csv(files["trials"])
    for name in METRICS:
        np.testing.assert_allclose(trials[f"validation_{name}"], own.trials[f"validation_{name}"])


def test_runs_of_one_name_and_other_labels_or_score_are_not_compared(
    own: Run, tmp_path: Path
) -> None:
    changes: list[dict[str, Any]] = [{"score": "accuracy"}, {"labels": [*LABELS[:3], "else"]}]
    for number, change in enumerate(changes):
        recipe = Recipe(definition=task_of(OWN | change), examples=80)
        other = load_run(write_run(tmp_path / str(number), recipe))
        with pytest.raises(RunError, match="define task tickets differently"):
            compare_runs([own, other])
