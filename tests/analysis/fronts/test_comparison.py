from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.fronts.comparison import _MOST_ORDERS, Comparison, _permutation, compare_runs
from analysis.runs.load import Run, RunError, load_run
from analysis.stats.dominance import hypervolume, nondominated
from tests.analysis.conftest import WriteRun

Altered = Callable[..., Run]


@pytest.fixture
def altered(tmp_path: Path) -> Altered:
    """`altered(folder, name, **facts)`: a copy of a run with other facts in its provenance."""

    def alter(folder: Path, name: str, **facts: Any) -> Run:
        made = shutil.copytree(folder, tmp_path / name)
        path = made / "provenance.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "run": name, **facts}))
        return load_run(made)

    return alter


@pytest.fixture(scope="module")
def skilled(written: WriteRun) -> Run:
    return load_run(written("cmp_skilled", run="skilled", skill=1.0, examples=400))


@pytest.fixture(scope="module")
def blind(written: WriteRun) -> Run:
    return load_run(written("cmp_blind", run="blind", skill=0.0, examples=400))


@pytest.fixture(scope="module")
def compared(skilled: Run, blind: Run) -> Comparison:
    """Routers that see every need against routers that see none."""
    return compare_runs([skilled, blind])


def test_a_run_and_its_copy_are_not_distinguishable_and_neither_is_preferred(
    run_folder: Path, altered: Altered
) -> None:
    found = compare_runs([load_run(run_folder), altered(run_folder, "copy")])
    pair = found.pairs[0]
    assert (pair.difference, pair.low, pair.high, pair.p) == (0, 0, 0, 1)
    assert pair.verdict == "not distinguishable"
    one, two = found.sides
    assert (one.merged, one.share) == (two.merged, two.share)
    assert one.merged == one.front
    assert one.share == 0


def test_routers_that_see_are_ahead_of_routers_that_do_not(compared: Comparison) -> None:
    pair = compared.pairs[0]
    assert pair.difference > 0
    assert pair.verdict == "skilled is ahead"
    assert pair.p == pair.least_p == pytest.approx(2 / math.comb(6, 3))


def test_the_order_of_the_runs_turns_signs_and_nothing_else(
    compared: Comparison, skilled: Run, blind: Run
) -> None:
    forth, reverse = compared, compare_runs([blind, skilled])
    assert set(forth.sides) == set(reverse.sides)
    one, two = forth.pairs[0], reverse.pairs[0]
    assert (one.difference, one.p) == pytest.approx((-two.difference, two.p))
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low))
    assert one.verdict == two.verdict
    columns = ["run", "point", "score", "cost"]
    pd.testing.assert_frame_equal(forth.merged[columns], reverse.merged[columns])


def test_every_hypervolume_is_that_of_the_quoted_front_under_one_reference(
    compared: Comparison,
) -> None:
    comparison = compared
    for side, taken in zip(comparison.sides, comparison.surveys, strict=True):
        front = taken.front
        volume = hypervolume(
            front["score"].to_numpy(), front["cost"].to_numpy(), reference=comparison.reference
        )
        assert side.hypervolume == pytest.approx(volume)
        assert side.low <= side.hypervolume <= side.high
        assert comparison.reference[0] <= taken.reference[0]
        assert comparison.reference[1] >= taken.reference[1]


def test_the_merged_front_is_the_front_of_all_points_together(compared: Comparison) -> None:
    comparison = compared
    every = pd.concat([each.points for each in comparison.surveys])
    scores, costs = every["selection_score"].to_numpy(), every["selection_cost"].to_numpy()
    kept = every[nondominated(scores, costs)]
    columns = ["selection_score", "selection_cost"]
    assert set(map(tuple, comparison.merged[columns].to_numpy())) == set(
        map(tuple, kept[columns].to_numpy())
    )
    assert [side.merged for side in comparison.sides] == [
        int((comparison.merged["run"] == side.name).sum()) for side in comparison.sides
    ]


def test_what_each_run_holds_alone_is_what_the_merged_front_loses_without_it(
    compared: Comparison,
) -> None:
    comparison = compared

    def volume(rows: pd.DataFrame) -> float:
        return hypervolume(
            rows["score"].to_numpy(), rows["cost"].to_numpy(), reference=comparison.reference
        )

    merged_volume = volume(comparison.merged)
    for side in comparison.sides:
        volume_without = volume(comparison.merged[comparison.merged["run"] != side.name])
        assert side.share == pytest.approx(1 - volume_without / merged_volume)
    assert sum(side.share for side in comparison.sides) <= 1


def _width(found: Comparison) -> float:
    return found.pairs[0].high - found.pairs[0].low


def test_pairing_makes_the_interval_of_the_difference_narrower(
    run_folder: Path, written: WriteRun, altered: Altered
) -> None:
    plain = load_run(run_folder)
    weaker = written("cmp_weaker", run="weaker", skill=0.5)
    paired = compare_runs([plain, load_run(weaker)])
    other = altered(weaker, "strange", fingerprints={"data": "zz"})
    apart = compare_runs([plain, other], force=True)
    assert paired.paired
    assert not apart.paired
    assert "nothing is paired" in apart.notes[0]
    assert paired.pairs[0].difference == pytest.approx(apart.pairs[0].difference)
    assert _width(paired) < 0.8 * _width(apart)


@pytest.mark.usefixtures("quick_reports")
def test_three_runs_make_three_pairs(run_folder: Path, altered: Altered) -> None:
    runs = [load_run(run_folder), altered(run_folder, "b"), altered(run_folder, "c")]
    found = compare_runs(runs)
    assert [(p.first, p.second) for p in found.pairs] == [
        ("fixture", "b"),
        ("fixture", "c"),
        ("b", "c"),
    ]


@pytest.mark.usefixtures("quick_reports")
@pytest.mark.parametrize("task", ["mrpc", "stsb", "mnli"])
def test_every_kind_of_task_can_be_compared(task: str, written: WriteRun, altered: Altered) -> None:
    folder = written(task, task=task)
    split = load_run(folder).task.quoted[-1]
    found = compare_runs([load_run(folder), altered(folder, "copy")], split=split)
    assert found.split == split
    assert found.pairs[0].difference == 0


def test_one_seed_gives_an_interval_and_no_permutation(written: WriteRun, altered: Altered) -> None:
    folder = written("cmp_one_seed", seeds=(0,))
    pair = compare_runs([load_run(folder), altered(folder, "copy")]).pairs[0]
    assert math.isnan(pair.p)
    assert math.isnan(pair.least_p)
    assert math.isfinite(pair.low)


@pytest.mark.usefixtures("quick_reports")
def test_another_vector_of_both_runs_is_asked_by_name(run_folder: Path, altered: Altered) -> None:
    runs = [load_run(run_folder), altered(run_folder, "copy")]
    found = compare_runs(runs, vector="mpc_seconds_as_if")
    assert found.vector == "mpc_seconds_as_if"
    assert found.reference[1] == pytest.approx(4.17 + 199.78)


def test_less_than_two_runs_are_no_comparison(run: Run) -> None:
    with pytest.raises(RunError, match="1 run to compare; name two"):
        compare_runs([run])


def test_a_folder_named_twice_is_refused(run: Run, run_folder: Path) -> None:
    with pytest.raises(RunError, match="named twice"):
        compare_runs([run, load_run(run_folder)])


@pytest.mark.usefixtures("quick_reports")
def test_runs_of_one_name_are_told_apart_by_their_folders(run_folder: Path, tmp_path: Path) -> None:
    folders = [tmp_path / place / "same" for place in ("monday", "tuesday")]
    for folder in folders:
        shutil.copytree(run_folder, folder)
    found = compare_runs([load_run(folder) for folder in folders])
    assert [side.name for side in found.sides] == ["monday/same", "tuesday/same"]


def test_runs_of_other_tasks_are_refused_whatever_is_forced(run: Run, written: WriteRun) -> None:
    other = load_run(written("mrpc", task="mrpc"))
    with pytest.raises(RunError, match=r"task rte and .* of mrpc"):
        compare_runs([run, other], force=True)


def test_other_data_are_refused_with_both_fingerprints(run_folder: Path, altered: Altered) -> None:
    other = altered(run_folder, "other", fingerprints={"data": "zz"})
    with pytest.raises(RunError, match=r"fingerprints aa and zz.*--force"):
        compare_runs([load_run(run_folder), other])


def test_the_same_fingerprint_with_other_examples_is_other_data(
    run_folder: Path, altered: Altered
) -> None:
    other = altered(run_folder, "other")
    path = other.path / "examples.parquet"
    table = pq.read_table(path)
    flipped = pc.subtract(pa.scalar(1.0), table["label"])
    pq.write_table(table.set_column(2, table.schema.field("label"), flipped), path)
    with pytest.raises(RunError, match="other examples of validation"):
        compare_runs([load_run(run_folder), load_run(other.path)])


def _dearer(folder: Path, router: float) -> dict[str, Any]:
    vectors = json.loads((folder / "provenance.json").read_text())["cost_vectors"]
    vectors["constants"]["router"] = router
    return dict(vectors)


def test_other_prices_are_refused_and_the_vector_that_is_alike_is_named(
    run_folder: Path, altered: Altered
) -> None:
    runs = [load_run(run_folder), altered(run_folder, "b", cost_vectors=_dearer(run_folder, 1.0))]
    with pytest.raises(RunError, match=r"router 0.3 against .*router 1; alike .*mpc_seconds_as_if"):
        compare_runs(runs)
    assert compare_runs(runs, vector="mpc_seconds_as_if").notes == ()
    forced = compare_runs(runs, force=True)
    assert "priced differently" in forced.notes[0]
    assert forced.paired
    assert forced.pairs[0].difference > 0


def test_a_vector_that_a_run_lacks_is_named_beside_its_own(
    run_folder: Path, altered: Altered
) -> None:
    with pytest.raises(RunError, match=r"no cost vector 'dollars'.*constants"):
        compare_runs([load_run(run_folder), altered(run_folder, "b")], vector="dollars")


def test_a_run_without_a_whole_point_says_so(run: Run, written: WriteRun) -> None:
    status = {(point, seed): "FAILED" for point in range(4) for seed in range(3)}
    folder = written("cmp_failed", status=status, run="failed")
    with pytest.raises(RunError, match="no point whose replicates all completed"):
        compare_runs([run, load_run(folder)])


def test_the_permutation_of_two_groups_apart_gives_the_least_p() -> None:
    p, least = _permutation(np.array([0.0, 1, 2]), np.array([10.0, 11, 12]))
    assert p == least == pytest.approx(2 / 20)


def test_groups_of_unequal_size_have_no_mirror_image() -> None:
    p, least = _permutation(np.array([0.0, 1]), np.array([10.0, 11, 12]))
    assert p == least == pytest.approx(1 / 10)


def test_equal_groups_are_as_apart_as_all() -> None:
    assert _permutation(np.ones(3), np.ones(4))[0] == 1


def test_a_group_of_one_answers_nothing() -> None:
    assert all(map(math.isnan, _permutation(np.array([1.0]), np.array([1.0, 2.0]))))


def test_the_permutation_counts_what_a_loop_over_all_deals_counts() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=4), rng.normal(0.7, size=3)
    pooled, seen = np.concatenate([first, second]), abs(first.mean() - second.mean())
    deals = list(itertools.combinations(range(7), 4))
    gaps = [abs(pooled[list(deal)].mean() - np.delete(pooled, list(deal)).mean()) for deal in deals]
    expected = sum(gap >= seen - 1e-12 for gap in gaps) / len(deals)
    assert _permutation(first, second)[0] == pytest.approx(expected)


def test_many_seeds_are_dealt_at_random_and_p_is_never_nothing() -> None:
    assert math.comb(24, 12) > _MOST_ORDERS
    p, least = _permutation(np.arange(12.0), 100 + np.arange(12.0))
    assert 0 < p == least == 1 / _MOST_ORDERS


def test_under_one_truth_small_p_are_as_rare_as_they_say() -> None:
    rng = np.random.default_rng(11)
    found = [_permutation(*rng.normal(size=(2, 5)))[0] for _ in range(300)]
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.05)
