from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.questions.utilization import _entropy, dead_experts, load_cv2, utilization
from analysis.runs.load import Run, load_run
from tests.analysis.conftest import WriteRun


@pytest.mark.parametrize("experts", [1, 2, 3, 5])
def test_load_cv2_spans_zero_to_k_minus_one(experts: int) -> None:
    assert load_cv2(np.full(experts, 1 / experts)) == pytest.approx(0)
    assert load_cv2(np.eye(experts)[0]) == pytest.approx(experts - 1)


def test_load_cv2_of_two_three_five_is_that_of_the_balance_loss() -> None:
    assert load_cv2(np.array([0.2, 0.3, 0.5])) == pytest.approx(0.14)


@pytest.mark.parametrize("experts", [1, 2, 3, 5])
def test_entropy_spans_zero_to_log_k(experts: int) -> None:
    assert _entropy(np.full(experts, 1 / experts)) == pytest.approx(np.log(experts))
    assert _entropy(np.eye(experts)[0]) == 0


def test_an_expert_at_the_threshold_is_alive() -> None:
    assert dead_experts(np.array([0.0099, 0.01, 0.9801])).tolist() == [True, False, False]


def test_shares_are_hard_counts_of_the_routing_table(run: Run) -> None:
    found = utilization(run).set_index("point")
    routes = run.routing[run.routing["split"] == "validation"].merge(run.trials, on="key")
    for point, rows in routes.groupby("point"):
        expected = [float((rows["route"] == expert).mean()) for expert in range(3)]
        assert found["share"][str(point)] == pytest.approx(expected)


def test_the_expert_that_a_point_never_calls_is_dead(run: Run) -> None:
    found = utilization(run).set_index("point")
    assert found.loc["p2", "dead"] == ["large"]
    assert found.loc["p0", "dead"] == []


def test_a_higher_threshold_collapses_what_mostly_takes_one_expert(run: Run) -> None:
    found = utilization(run, threshold=0.25).set_index("point")
    assert found.loc["p2", "collapsed"] == 3


def test_gate_entropy_is_the_reported_one(run: Run) -> None:
    assert utilization(run)["gate_entropy"].to_numpy() == pytest.approx(0.4)


def test_soft_hard_gap_is_half_the_distance_of_gate_and_share(written: WriteRun) -> None:
    folder = written("soft")
    path = folder / "reports.parquet"
    rows = pq.read_table(path)
    even = pa.array([[1 / 3] * 3] * len(rows), rows.schema.field("gate").type)
    pq.write_table(rows.set_column(rows.schema.get_field_index("gate"), "gate", even), path)
    run = load_run(folder)
    last = run.reports[run.reports["split"] == "validation"].merge(run.trials, on="key")
    found = utilization(run).set_index("point")["soft_hard_gap"]
    for point, share in last.groupby("point")["share"]:
        expected = np.mean([np.abs(np.asarray(each) - 1 / 3).sum() / 2 for each in share])
        assert found[str(point)] == pytest.approx(float(expected))
    assert (found > 0).all()
