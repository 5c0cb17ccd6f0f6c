from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.baselines.bias_curves import bias_curve
from analysis.runs.load import Run, RunError, load_run
from analysis.runs.outcomes import outcomes, roster
from analysis.runs.recorded import examples, expert_outputs, router_logits
from mpc_router.run_names import SELECTION
from tests.analysis.conftest import WriteRun


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "copy"))


def test_examples_are_those_of_the_split_in_order(run: Run) -> None:
    found = examples(run, "selection")
    assert (np.diff(found.number) > 0).all()
    table = run.examples[run.examples["split"] == "selection"].set_index("example")
    assert (found.labels == table.loc[found.number, "label"].to_numpy()).all()


def test_the_curve_of_every_trial_goes_through_the_trial(run: Run) -> None:
    vector = run.cost_vector()
    keys = [str(key) for key in run.trials["key"]]
    for split in ("selection", "validation"):
        seen, logits = examples(run, split), router_logits(run, keys, split)
        trials = run.trials.set_index("key")
        for key in keys:
            said = expert_outputs(run, str(trials.loc[key, "experts_id"]), split)
            curve = bias_curve(
                run.task,
                logits[key],
                said.prediction,
                seen.labels,
                vector=vector,
                biases=np.zeros(1),
            )
            assert curve.scores[0] == pytest.approx(trials.loc[key, f"{split}_score"], abs=1e-12)
            assert curve.costs[0] == pytest.approx(trials.loc[key, f"{split}_cost"], abs=1e-12)


def test_the_order_of_rows_changes_nothing(run: Run, written: WriteRun) -> None:
    shuffled = load_run(written("shuffled", shuffle=True))
    keys = ["k3s1", "k0s0"]
    one, other = (router_logits(each, keys, "validation") for each in (run, shuffled))
    assert list(one) == keys
    assert all((one[key] == other[key]).all() for key in keys)
    mine, theirs = (expert_outputs(each, "e0", "validation") for each in (run, shuffled))
    assert (mine.prediction == theirs.prediction).all()
    assert (mine.output == theirs.output).all()


def test_outputs_are_a_block_of_experts_examples_and_classes(run: Run) -> None:
    found = expert_outputs(run, "e0", "validation")
    assert found.prediction.shape == (3, 120)
    assert found.output.shape == (3, 120, 2)


def test_a_trial_that_failed_has_no_logits_and_is_named(written: WriteRun) -> None:
    folder = written("one_failed", status={(0, 1): "FAILED"}, reasons={"FAILED": "NaN in task"})
    with pytest.raises(RunError, match=r"trial k0s1: 0 rows do not match the split's 120"):
        router_logits(load_run(folder), ["k0s0", "k0s1"], "validation")


def test_a_trial_without_all_its_rows_is_named(copy: Path) -> None:
    table = pq.read_table(copy / "routing.parquet")
    pq.write_table(table.slice(0, table.num_rows - 3), copy / "routing.parquet")
    with pytest.raises(RunError, match=r"trial k3s2: 117 rows"):
        router_logits(load_run(copy), ["k3s2"], "validation")


def test_an_expert_without_all_its_rows_is_named(copy: Path) -> None:
    table = pq.read_table(copy / "experts.parquet")
    pq.write_table(table.slice(0, table.num_rows - 3), copy / "experts.parquet")
    with pytest.raises(RunError, match=r"experts e0: expert 0: 119 rows"):
        expert_outputs(load_run(copy), "e0", "validation")


def test_experts_that_are_not_there_are_named(run: Run) -> None:
    with pytest.raises(RunError, match=r"experts nobody: no row"):
        expert_outputs(run, "nobody", "validation")


def test_a_split_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(RunError, match=r"split 'test': no row"):
        examples(run, "test")


def test_a_table_that_is_read_in_parts_gives_the_same_arrays(
    run: Run, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy / "routing.parquet"
    table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=len(table) // 7)  # a trial's rows lie in two parts
    monkeypatch.setattr("analysis.runs.load._SMALL", 0)
    parts, keys = load_run(copy), roster(run).keys
    assert len(list(parts.chunks("routing", ["key"]))) > 7
    for split in (SELECTION, run.task.quoted[0]):
        at_once, in_parts = router_logits(run, keys, split), router_logits(parts, keys, split)
        assert list(in_parts) == list(at_once)
        assert all(np.array_equal(in_parts[key], at_once[key]) for key in keys)
        one, other = (outcomes(of_run, roster(of_run), split) for of_run in (run, parts))
        assert np.array_equal(one.routes, other.routes)
        assert np.array_equal(one.predictions, other.predictions)
    with pytest.raises(RunError, match="no column nothing"):
        list(parts.chunks("routing", ["nothing"]))
    doubled = pa.concat_tables([table, table.slice(0, 1)])
    pq.write_table(doubled, path, row_group_size=len(table) // 7)
    with pytest.raises(RunError, match="rows do not match the split"):
        router_logits(load_run(copy), keys, str(table["split"][0]))


def test_outcomes_of_a_run_are_read_once_and_nobody_changes_them(run: Run) -> None:
    seen = outcomes(run, roster(run), SELECTION)
    assert outcomes(run, roster(run), SELECTION, need_routes=False) is seen
    with pytest.raises(ValueError, match="read-only"):
        seen.routes[0, 0] = 0
