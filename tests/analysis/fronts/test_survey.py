from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.fronts.survey import points, survey
from analysis.runs.load import Run, RunError, load_run
from analysis.stats.dominance import default_reference, hypervolume, nondominated
from mpc_router.costs import CostVector
from tests.analysis.conftest import WriteRun

REFERENCE = (0.0, 14.0)
SCORES, COSTS = np.array([0.70, 0.80, 0.85]), np.array([2.0, 7.0, 13.0])


def test_the_hypervolume_of_the_three_points_is_that_of_the_sum() -> None:
    expected = 0.70 * (14 - 2) + 0.10 * (14 - 7) + 0.05 * (14 - 13)
    assert hypervolume(SCORES, COSTS, reference=REFERENCE) == pytest.approx(expected)
    assert expected == pytest.approx(9.15)


@pytest.mark.parametrize("extra", [(0.60, 9.0), (0.99, 14.5), (-0.1, 1.0)])
def test_dominated_points_and_points_outside_add_no_hypervolume(
    extra: tuple[float, float],
) -> None:
    scores, costs = np.append(SCORES, extra[0]), np.append(COSTS, extra[1])
    assert hypervolume(scores, costs, reference=REFERENCE) == pytest.approx(9.15)


def test_points_that_are_all_outside_have_no_hypervolume() -> None:
    assert hypervolume(np.array([0.9]), np.array([20.0]), reference=REFERENCE) == 0


def _brute_force(scores: np.ndarray, costs: np.ndarray) -> np.ndarray:
    keep = []
    for i in range(len(scores)):
        beaten = (scores >= scores[i]) & (costs <= costs[i])
        strictly = beaten & ((scores > scores[i]) | (costs < costs[i]))
        twin = beaten & ~strictly & (np.arange(len(scores)) < i)
        keep.append(not (strictly | twin).any())
    return np.array(keep)


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_that_of_a_comparison_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, costs = rng.integers(0, 8, 40) / 8, rng.integers(0, 8, 40) / 8
    assert (nondominated(scores, costs) == _brute_force(scores, costs)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        nondominated(np.array([0.5, bad]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="finite"):
        hypervolume(np.array([0.5, 0.6]), np.array([1.0, bad]), reference=REFERENCE)


def test_the_default_reference_leaves_a_tenth_under_the_worst_expert() -> None:
    vector = CostVector(name="c", unit="units", router=0.3, experts=(2, 7, 13))
    assert default_reference(np.array([0.7, 0.8, 0.9]), vector) == pytest.approx((0.68, 13.3))


def test_points_reproduce_the_scores_and_costs_of_the_trials(run: Run) -> None:
    means = run.trials.groupby("point")[
        ["validation_score", "validation_cost", "selection_score", "selection_cost"]
    ].mean()
    found = points(run, resamples=10).set_index("point").loc[means.index]
    assert found["score"].to_numpy() == pytest.approx(means["validation_score"].to_numpy())
    assert found["cost"].to_numpy() == pytest.approx(means["validation_cost"].to_numpy())
    for name in ("selection_score", "selection_cost"):
        assert found[name].to_numpy() == pytest.approx(means[name].to_numpy())


@pytest.mark.parametrize("task", ["mrpc", "cola", "stsb", "mnli"])
def test_every_kind_of_task_reproduces_its_trials(task: str, written: WriteRun) -> None:
    run = load_run(written(task, task=task))
    for split in run.task.quoted:
        means = run.trials.groupby("point")[f"{split}_score"].mean()
        found = points(run, split=split, resamples=4).set_index("point").loc[means.index]
        assert found["score"].to_numpy() == pytest.approx(means.to_numpy())


def test_another_cost_vector_reprices_the_same_routes(run: Run) -> None:
    means = run.trials.groupby("point")["validation_cost_mpc_seconds_as_if"].mean()
    found = points(run, vector="mpc_seconds_as_if", resamples=4).set_index("point")
    assert found.loc[means.index, "cost"].to_numpy() == pytest.approx(means.to_numpy())


def test_an_unknown_cost_vector_is_named_beside_the_known_ones(run: Run) -> None:
    with pytest.raises(RunError, match=r"'dollars'.*constants, mpc_seconds_as_if"):
        points(run, vector="dollars")


def test_the_order_of_rows_changes_nothing(run: Run, written: WriteRun) -> None:
    shuffled = load_run(written("shuffled", shuffle=True))
    pd.testing.assert_frame_equal(points(run, resamples=50), points(shuffled, resamples=50))


def test_intervals_hold_their_estimates_and_are_the_same_every_time(run: Run) -> None:
    once, again = points(run), points(run)
    pd.testing.assert_frame_equal(once, again)
    for name in ("score", "cost", "selection_score", "selection_cost"):
        assert (once[f"{name}_low"] <= once[name]).all()
        assert (once[name] <= once[f"{name}_high"]).all()


def test_skilled_routers_stand_above_the_mix_and_a_coin_does_not(run: Run) -> None:
    found = points(run).set_index("point")
    assert found.loc["p0", "verdict"] == "above"
    assert found.loc["p2", "verdict"] != "above"


def test_the_interval_of_the_difference_is_paired(run: Run) -> None:
    """Router and coin see the same examples, so their difference varies less than unpaired."""
    row = points(run).set_index("point").loc["p2"]
    paired = row["over_mix_high"] - row["over_mix_low"]
    apart = np.hypot(row["score_high"] - row["score_low"], row["mix_high"] - row["mix_low"])
    assert paired < 0.8 * apart


def test_a_point_with_a_failed_replicate_is_left_out_and_said_so(written: WriteRun) -> None:
    folder = written("one_failed", status={(0, 1): "FAILED"}, reasons={"FAILED": "NaN in task"})
    found = survey(load_run(folder), resamples=10)
    assert set(found.points["point"]) == {"p1", "p2", "p3"}
    assert [(one.point, one.reason) for one in found.left_out] == [("p0", "1 FAILED of 3")]


def test_a_run_of_failed_trials_only_says_that_nothing_can_be_judged(written: WriteRun) -> None:
    status = {(point, seed): "FAILED" for point in range(4) for seed in range(3)}
    folder = written("all_failed", status=status, reasons={"FAILED": "NaN in task"})
    with pytest.raises(RunError, match=r"12 FAILED.*NaN in task"):
        survey(load_run(folder))


def test_a_trial_without_all_its_routes_is_named(run_folder: Path, tmp_path: Path) -> None:
    import shutil

    import pyarrow.parquet as pq

    folder = tmp_path / "cut"
    shutil.copytree(run_folder, folder)
    table = pq.read_table(folder / "routing.parquet")
    pq.write_table(table.slice(0, table.num_rows - 3), folder / "routing.parquet")
    with pytest.raises(RunError, match=r"routing.parquet.*lacks 3"):
        survey(load_run(folder), resamples=2)


def test_a_single_point_with_one_seed_is_a_front(written: WriteRun) -> None:
    folder = written("single", points=((0.5, 0.5),), seeds=(3,))
    found = survey(load_run(folder), resamples=20)
    assert list(found.front["point"]) == ["p0"]
    assert found.hypervolume > 0
