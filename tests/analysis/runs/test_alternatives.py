"""A path stands where an expert stands: runs of paths are reproduced, number by number."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import schema
from analysis.choices.operating_points import bias_curves, unbiased_curves
from analysis.fronts.survey import survey
from analysis.questions.utilization import utilization
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError, load_run
from analysis.runs.outcomes import outcomes, roster, router_kinds
from analysis.runs.recosting import recosted
from mpc_router.costs import CostVector
from mpc_router.tasks import score_of
from tests.analysis.path_runs import SPLITS, VECTORS, World, world, write

TASKS = ("rte", "stsb")


@pytest.fixture(scope="module", params=TASKS)
def made(request: pytest.FixtureRequest) -> World:
    return world(task=request.param)


@pytest.fixture(scope="module")
def run(made: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write(tmp_path_factory.mktemp("paths") / "r", made))


@pytest.mark.parametrize("split", SPLITS)
def test_routes_experts_examples_and_paths_give_every_recorded_score(
    made: World, run: Run, split: str
) -> None:
    seen = outcomes(run, roster(run), split)
    scores = score_of(made.task, seen.predictions, seen.labels)
    recorded = {trial.key: made.score(trial, split) for trial in made.trials}
    assert dict(zip(roster(run).keys, scores.tolist(), strict=True)) == recorded


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", VECTORS)
def test_routes_and_paths_give_every_recorded_cost(
    made: World, run: Run, split: str, name: str
) -> None:
    table = survey(run, split=split, vector=name, resamples=0).points
    for point, cost in zip(table["point"], table["cost"], strict=True):
        of_seeds = [
            made.cost(trial, split, VECTORS[name])
            for trial in made.trials
            if trial.router.point == point
        ]
        assert cost == pytest.approx(np.mean(of_seeds), rel=1e-12)


def test_alternatives_are_the_experts_and_then_each_path_once(run: Run) -> None:
    choices = alternatives(run)
    assert choices.experts[:3] == ((0,), (1,), (2,))
    assert choices.names[3:] == (
        "tiny + base",
        "tiny + large",
        "tiny + base, average",
        "tiny + large, average",
        "tiny + base, logistic",
        "tiny + large, logistic",
        "tiny + base + large, average",
        "tiny + base + large",
    )
    assert choices.places["p0s0"] == (0, 1, 2)
    assert choices.places["p5s1"] == (0, 3, 10)
    assert choices.runs[10].tolist() == [True, True, True]


def test_use_is_shown_by_path_and_by_the_experts_that_run(made: World, run: Run) -> None:
    use = utilization(run)
    shares = dict(zip(use["point"], use["share"], strict=True))
    loads = dict(zip(use["point"], use["runs"], strict=True))
    choices = alternatives(run)
    for point in ("p0", "p2", "p4"):
        share, runs = np.asarray(shares[point]), np.asarray(loads[point])
        assert share.sum() == pytest.approx(1)
        assert runs == pytest.approx(share @ choices.runs)
    assert shares["p0"][:3] == loads["p0"]
    assert loads["p2"][0] == pytest.approx(1)  # the cheapest expert always runs


def test_other_prices_are_paid_by_path(made: World, run: Run) -> None:
    other = CostVector(name="other", unit="s", router=1.5, experts=(3.0, 5.0, 11.0))
    priced = recosted(run, {"other": other})
    trials = priced.trials.set_index("key")
    for trial in made.trials:
        wanted = made.cost(trial, "validation", other)
        assert trials.loc[trial.key, "validation_cost_other"] == pytest.approx(wanted, rel=1e-12)


def test_without_routes_shares_by_path_give_the_same_costs(
    made: World, run: Run, tmp_path: Path
) -> None:
    shutil.copytree(run.path, tmp_path / "r")
    (tmp_path / "r" / "routing.parquet").unlink()
    bare = load_run(tmp_path / "r")
    curves = unbiased_curves(bare)
    for trial in made.trials:
        wanted = made.cost(trial, "validation", VECTORS["constants"])
        assert curves.trials[trial.key][1].costs[0] == pytest.approx(wanted, rel=1e-12)
    full, few = survey(run, resamples=0).points, survey(bare, resamples=0).points
    assert few["cost"].to_numpy() == pytest.approx(full["cost"].to_numpy(), rel=1e-12)


def test_a_bias_of_nothing_is_the_router_as_trained_and_others_reach_both_ends(
    made: World, run: Run
) -> None:
    curves = bias_curves(run)
    for trial in made.trials:
        curve = curves.trials[trial.key][1]
        place = int(np.flatnonzero(curve.biases == 0)[0])
        assert curve.scores[place] == made.score(trial, "validation")
        wanted = made.cost(trial, "validation", VECTORS["constants"])
        assert curve.costs[place] == pytest.approx(wanted, rel=1e-12)
        chosen = curves.trials[trial.key][0]
        price = alternatives(run).own_price(trial.key, VECTORS["constants"])
        assert chosen.costs[0] == pytest.approx(price.router + max(price.routed))
        assert chosen.costs[-1] == pytest.approx(price.router + min(price.routed))
        assert (np.diff(chosen.costs) <= 1e-12).all() or trial.router.kind == "sequential"


def test_kinds_are_what_configurations_name(run: Run) -> None:
    kinds = router_kinds(run)
    assert kinds["p0"] == "gated"
    assert (kinds["p1"], kinds["p4"]) == ("predictive", "sequential")


def changed(run: Run, folder: Path, table: str, column: str, value: object) -> Run:
    """A copy of the run with a value in the last row of a column."""
    shutil.copytree(run.path, folder)
    path = folder / schema.table_file(table)
    rows = pq.read_table(path)
    values = [*rows[column].to_pylist()[:-1], value]
    kind = rows.schema.field(column)
    place = rows.schema.get_field_index(column)
    pq.write_table(rows.set_column(place, kind, pa.array(values, kind.type)), path)
    return load_run(folder)


@pytest.mark.parametrize(
    ("table", "column", "value", "complaint"),
    [
        ("trials", "paths_id", "0123456789abcdef", "no paths '0123456789abcdef', which trial p5s1"),
        ("paths", "experts", [0, 1, 9], "are no paths"),
        ("paths", "combine", "sum", "are no paths"),
        ("paths", "offset", [0.5], "are no paths"),
        ("paths", "path", 7, "are no paths"),
        ("routing", "route", 9, "a route to path 9 of 3"),
    ],
)
def test_paths_that_do_not_fit_are_refused_in_a_sentence(
    run: Run, tmp_path: Path, table: str, column: str, value: object, complaint: str
) -> None:
    odd = changed(run, tmp_path / "odd", table, column, value)
    with pytest.raises(RunError, match=complaint) as refusal:
        outcomes(odd, roster(odd), "validation")
    assert len(str(refusal.value)) < 1000


def test_paths_without_their_table_are_refused(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "r")
    (tmp_path / "r" / "paths.parquet").unlink()
    bare = load_run(tmp_path / "r")
    with pytest.raises(RunError, match=r"paths\.parquet: this table is missing"):
        outcomes(bare, roster(bare), "validation")
