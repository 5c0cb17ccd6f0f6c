"""Regret, what the oracle scores more at a router's own cost, is never below 0."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import schema
from analysis.baselines import yardsticks
from analysis.fronts.survey import survey
from analysis.runs.load import Run, load_run
from mpc_router.tasks import TASKS
from tests.analysis.conftest import VECTORS, WriteRun

RECORDED = sorted((Path(analysis.__file__).parent / "notebooks" / "recorded").iterdir())
NOTHING = -1e-12


def test_a_router_at_six_and_three_quarters_leaves_a_quarter() -> None:
    """The four examples of the fixture: their oracle is right about everything at cost 6."""
    curve = yardsticks.Curve(costs=np.array([2, 3.25, 6]), scores=np.array([0.5, 0.75, 1]))
    found = yardsticks.regret(np.array([0.75, 1.0]), curve.at(np.array([6.0, 6.0])))
    assert found == pytest.approx([0.25, 0])


@pytest.mark.parametrize("task", sorted(TASKS))
def test_no_point_of_a_made_run_beats_its_oracle(task: str, written: WriteRun) -> None:
    run = load_run(written(f"regret-{task}", task=task))
    for split in ("selection", *run.task.quoted):
        for vector in run.cost_vectors:
            taken = survey(run, split=split, vector=vector, resamples=0)
            points = taken.points
            assert (points["regret"] >= NOTHING).all()
            best = taken.oracle_curve.at(points["cost"].to_numpy())
            assert points["regret"].to_numpy() == pytest.approx(best - points["score"].to_numpy())


@pytest.mark.parametrize("folder", RECORDED, ids=lambda folder: folder.name)
def test_no_point_of_a_recorded_run_beats_its_oracle(folder: Path) -> None:
    run = load_run(folder)
    for vector in run.cost_vectors:
        assert (survey(run, vector=vector, resamples=0).points["regret"] >= NOTHING).all()


def _replace(folder: Path, table: str, frame: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / schema.table_file(table)
    kept = pq.read_schema(path)
    pq.write_table(pa.Table.from_pandas(frame, kept, preserve_index=False), path)


def _oracles(source: Path, folder: Path) -> Run:
    """The plain run, but every seed has experts of its own, and its routers are their oracles."""
    run = load_run(shutil.copytree(source, folder))
    trials, routing = run.trials.copy(), run.routing.copy()
    trials["experts_id"] = "of" + trials["seed"].astype(str)
    label = run.examples.set_index(["split", "example"])["label"]
    said = []
    for seed in sorted(trials["seed"].unique()):
        rng = np.random.default_rng(seed)
        mine = run.experts.assign(experts_id=f"of{seed}")
        truth = label.loc[pd.MultiIndex.from_frame(mine[["split", "example"]])].to_numpy()
        mine["right"] = rng.random(len(mine)) < 0.3 + 0.2 * seed
        mine["prediction"] = np.where(mine["right"], truth, 1 - truth)
        said.append(mine)
        wide = mine.pivot_table(index=["split", "example"], columns="expert", values="right")
        routes = yardsticks.oracle_routes(wide.to_numpy().T.astype(bool), VECTORS["constants"])
        keys = set(trials.loc[trials["seed"] == seed, "key"])
        rows = routing["key"].isin(keys)
        where = pd.MultiIndex.from_frame(routing.loc[rows, ["split", "example"]])
        routing.loc[rows, "route"] = pd.Series(routes, wide.index).loc[where].to_numpy()
    for table, frame in (("trials", trials), ("routing", routing), ("experts", pd.concat(said))):
        _replace(folder, table, frame)
    return load_run(folder)


def test_oracles_of_experts_of_their_own_leave_nothing(run_folder: Path, tmp_path: Path) -> None:
    """Seed by seed, at each one's cost: a mean of oracles is no point of a mean of their curves."""
    taken = survey(_oracles(run_folder, tmp_path / "oracles"), resamples=0)
    assert taken.expert_sets == 3
    assert taken.points["regret"].to_numpy() == pytest.approx(0, abs=1e-12)
    best = taken.oracle_curve.at(taken.points["cost"].to_numpy())
    assert (best < taken.points["score"].to_numpy() - 0.01).all()


def test_a_dearer_router_of_a_set_is_paid_by_its_oracle_too(run: Run) -> None:
    facts: dict[str, Any] = dict(run.provenance)
    first: dict[str, Any] = {"points": ["p0", "p1"], "joint": False} | {
        name: copy.deepcopy(facts[name]) for name in ("experts", "cost_vectors")
    }
    second = copy.deepcopy(first) | {"points": ["p2", "p3"]}
    second["cost_vectors"]["constants"]["router"] += 2.0
    dear = Run(path=run.path, provenance=facts | {"sets": [first, second]}, study=run.study)
    before = survey(run, resamples=0).points.set_index("point")
    after = survey(dear, resamples=0).points.set_index("point")
    added = (after["cost"] - before["cost"]).loc[["p0", "p1", "p2", "p3"]]
    assert added.to_numpy() == pytest.approx([0, 0, 2, 2])
    assert after["regret"].to_numpy() == pytest.approx(before["regret"].to_numpy())
