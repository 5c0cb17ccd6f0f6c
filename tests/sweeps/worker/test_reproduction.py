"""Routing, experts and examples reproduce every quoted number; one trial is the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mpc_router.costs import from_json
from mpc_router.tasks import TASKS, Task, evaluate
from sweeps.run import main
from tests.sweeps.conftest import FIX, in_process, on_disk, rows

Command = Callable[..., int]


@pytest.fixture(scope="module", params=["mrpc", "stsb"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished grid: a classification, and a regression (one output an expert)."""
    folder = tmp_path_factory.mktemp(request.param)
    on_disk(folder / "prepared", task=request.param)
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, folder / "prepared")
        out = ("--out", str(folder / "runs"), "--name", "r")
        assert main([f"{request.param}_grid", *FIX, "--sample", "--no-report", *out]) == 0
    return folder / "runs" / "r"


def task_of(run: Path) -> Task:
    return TASKS[json.loads((run / "provenance.json").read_text())["task"]]


def test_routing_experts_and_examples_reproduce_every_score_and_cost(run: Path) -> None:
    vectors = from_json(json.loads((run / "provenance.json").read_text())["cost_vectors"])
    labels: dict[str, dict[int, float]] = {}
    for row in rows(run, "examples"):
        labels.setdefault(row["split"], {})[row["example"]] = row["label"]
    said = {
        (row["split"], row["expert"], row["example"]): row["prediction"]
        for row in rows(run, "experts")
    }
    routes: dict[tuple[str, str], dict[int, int]] = {}
    for row in rows(run, "routing"):
        assert row["route"] == int(np.argmax(row["logits"]))
        routes.setdefault((row["key"], row["split"]), {})[row["example"]] = row["route"]
    checked = 0
    for trial in rows(run, "trials"):
        for split in ("selection", "validation"):
            taken = routes[trial["key"], split]
            assert taken.keys() == labels[split].keys()
            predictions = [[said[split, route, example] for example, route in taken.items()]]
            truth = np.array([labels[split][example] for example in taken])
            for name, value in evaluate(task_of(run), np.array(predictions), truth).items():
                assert trial[f"{split}_{name}"] == value[0]
            chosen = np.array(list(taken.values()))
            for name, vector in vectors.items():
                share = np.bincount(chosen, minlength=len(vector.experts)) / len(chosen)
                assert trial[f"{split}_cost_{name}"] == vector.mean(share)
                assert vector.of_routes(chosen).mean() == pytest.approx(
                    vector.mean(share), rel=1e-12
                )
            assert trial[f"{split}_cost"] == trial[f"{split}_cost_constants"]
            checked += 1
    assert checked == 60


def test_an_expert_is_right_by_its_label_or_by_the_least_error(run: Path) -> None:
    labels = {(row["split"], row["example"]): row["label"] for row in rows(run, "examples")}
    errors: dict[tuple[str, int], list[float]] = {}
    experts = rows(run, "experts")
    for row in experts:
        place = row["split"], row["example"]
        errors.setdefault(place, []).append(abs(row["prediction"] - labels[place]))
    for row in experts:
        place = row["split"], row["example"]
        error = abs(row["prediction"] - labels[place])
        assert row["right"] == (error == (min(errors[place]) if task_of(run).regression else 0))
        if task_of(run).regression:
            assert len(row["output"]) == 1
            assert row["loss"] == pytest.approx(error**2)
        else:
            normaliser = np.logaddexp.reduce(np.array(row["output"], np.float64))
            assert row["loss"] == pytest.approx(normaliser - row["output"][int(labels[place])])


def test_rows_stand_in_the_order_of_the_plan(run: Path) -> None:
    keys = [trial["key"] for trial in rows(run, "trials")]
    splits = ["selection", "validation"]
    places = [
        (keys.index(row["key"]), row["epoch"], splits.index(row["split"]))
        for row in rows(run, "reports")
    ]
    assert places == sorted(places)
    routed = [(keys.index(row["key"]), splits.index(row["split"])) for row in rows(run, "routing")]
    assert routed == sorted(routed)


@pytest.mark.slow
def test_a_trial_in_debug_alone_in_a_sweep_and_among_thirty_is_the_same(
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    in_process(monkeypatch, prepared_folder)
    common = ("mrpc_grid", *FIX, "epochs=5", "--sample", "--no-report", "--out", str(tmp_path))
    assert main([*common, "--name", "thirty", "pack.points=10"]) == 0
    only = ("alpha=0.1", "beta=0.01", "seeds=[1]")
    assert main([*common, "--name", "alone", *only]) == 0
    (alone,) = rows(tmp_path / "alone", "trials")
    key = alone["key"]
    among = [trial for trial in rows(tmp_path / "thirty", "trials") if trial["key"] == key]
    assert len(among) == 1
    for column in ("selection_score", "validation_score", "selection_cost", "validation_cost"):
        assert among[0][column] == alone[column]
    routes, logits, losses = [], [], []
    for name in ("alone", "thirty"):
        found = [("key", "=", key)]
        routed = pq.read_table(tmp_path / name / "routing.parquet", filters=found)
        reports = pq.read_table(tmp_path / name / "reports.parquet", filters=found)
        routes.append(routed.drop(["logits"]))
        logits.append(np.array(routed["logits"].to_pylist()))
        losses.append(np.array([reports[column] for column in ("loss", "loss_task")]))
    assert routes[0].equals(routes[1])
    assert np.abs(logits[0] - logits[1]).max() < 1e-5
    assert losses[0].shape == (2, 5 + 1)
    assert np.abs(losses[0] - losses[1]).max() < 1e-5
    for name in ("alone", "thirty"):
        capsys.readouterr()
        replay = ("--debug", "--key", key, "--run", str(tmp_path / name), "--sample")
        assert main(replay) == 0
        said = capsys.readouterr().out
        assert "equal to the run's numbers: 6 reports, losses within " in said
        assert "; 140 routes, the router's logits within " in said
