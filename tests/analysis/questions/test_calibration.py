"""Calibration error by hand, and temperatures that are found again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.fronts.survey import survey
from analysis.questions._calibration import calibration, temperature
from analysis.runs.load import Run, RunError, load_run
from mpc_router.tasks import calibration_error
from tests.analysis.conftest import WriteRun


def test_confidence_that_is_accuracy_has_no_error_and_the_rest_its_distance() -> None:
    right = np.repeat([True, False], [75, 25])
    assert calibration_error(np.full((1, 100), 0.75), right[None]) == pytest.approx(0.0)
    assert calibration_error(np.full((1, 100), 0.9), right[None]) == pytest.approx(0.15)
    both = np.concatenate([np.full(50, 0.6), np.full(50, 0.95)])
    known = np.concatenate([np.ones(50, bool), np.zeros(50, bool)])
    assert calibration_error(both[None], known[None]) == pytest.approx(0.5 * 0.4 + 0.5 * 0.95)


def test_full_confidence_has_a_bin_too() -> None:
    assert calibration_error(np.ones((1, 10)), np.zeros((1, 10), bool)) == pytest.approx(1.0)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_of_sampled_labels_is_found_again(true: float) -> None:
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(20_000, 3)) * 2
    chance = np.exp(outputs / true)
    chance /= chance.sum(axis=1, keepdims=True)
    labels = (rng.random((len(outputs), 1)) > chance.cumsum(axis=1)).sum(axis=1)
    assert temperature(outputs, labels) == pytest.approx(true, rel=0.05)


def test_every_expert_and_every_gate_of_the_front_has_a_row(run: Run) -> None:
    taken = survey(run, resamples=20)
    table = calibration(run, taken)
    assert (table["kind"] == "expert").sum() == 3
    assert table.loc[table["kind"] == "point", "label"].tolist() == taken.front["label"].tolist()
    assert table["before"].between(0, 1).all()
    assert (table["low"] <= table["high"]).all()


def test_replicates_that_agree_make_nothing_surer(written: WriteRun) -> None:
    folder = written("alike")
    path = folder / "routing.parquet"
    rows = pq.read_table(path)
    cheapest = pa.array(np.zeros(len(rows)), rows.schema.field("route").type)
    pq.write_table(rows.set_column(rows.schema.get_field_index("route"), "route", cheapest), path)
    run = load_run(folder)
    table = calibration(run, survey(run, resamples=20))
    expert, point = table.iloc[0], table[table["kind"] == "point"].iloc[0]
    same = ["accuracy", "before", "after", "low", "high"]
    assert point[same].tolist() == pytest.approx(expert[same].tolist())


def test_a_regression_has_no_confidences(written: WriteRun) -> None:
    run = load_run(written("stsb", task="stsb"))
    with pytest.raises(RunError, match="is a regression and has no confidences"):
        calibration(run, survey(run, resamples=20))
