"""Several prepared sets in a run: pools of different sizes, costs that were measured."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_router.config.pools import POOLS
from mpc_router.config.trial import ConfigError
from mpc_router.costs import from_json
from mpc_router.data.sources import SourceError
from mpc_router.prepare import frozen
from mpc_router.tasks import TASKS, evaluate
from sweeps.driver import session
from sweeps.records import Message, Pack
from sweeps.study.read import from_tree, load
from sweeps.study.study import _COUNTED
from sweeps.worker.job import Job
from sweeps.worker.pack import run_pack
from tests.sweeps.conftest import LITTLE, assert_same_tables, rows, without_ray

Command = Callable[..., int]

SIZES = ("mrpc_pool_size", *LITTLE, "epochs=2", "seeds=[0, 1]")


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory, sample_cache: Path) -> Path:
    """A run over pools of two and of three experts."""
    from sweeps.run import main

    folder = tmp_path_factory.mktemp("sized")
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        known = ("--cache", str(sample_cache), "--out", str(folder), "--no-report")
        assert main([*SIZES, "--sample", "--name", "r", *known]) == 0
    return folder / "r"


def sets_of(run: Path) -> dict[str, dict[str, Any]]:
    """The sets of a run by point."""
    sets = json.loads((run / "provenance.json").read_text())["sets"]
    return {point: each for each in sets for point in each["points"]}


@pytest.mark.parametrize("pool", POOLS)
def test_all_sizes_are_those_of_the_pool(pool: str) -> None:
    study = load("mrpc_pool_size", [f"pool={pool}"])
    assert [point.settings["pool_size"] for point in study.points()] == list(POOLS[pool].sizes)
    assert [each.config.experts for each in study.sets] == list(POOLS[pool].sizes)


@pytest.mark.parametrize(
    "overrides",
    [
        ["pool_size={grid: all}"],
        ["pool={grid: [minilm, sample]}"],
        ["pool={grid: [bert, sample]}", "expert_fine_tuned=false"],
        ["pool={grid: [minilm, sample]}", "expert_epochs=0", "start=[{pool: sample}]"],
        ["pool=minilm", "expert_layers={grid: [[1, 6], [2, 4, 6]]}"],
        ["expert_seed={grid: [0, 1]}", "pool=sample"],
        ["experts={grid: [frozen, joint]}", "pool=sample"],
        ["stem={grid: [model, expert]}"],
    ],
    ids=" ".join,
)
def test_a_resolved_study_with_several_sets_says_the_same_again(overrides: list[str]) -> None:
    study = load("mrpc_grid", ["alpha=0.1", "beta=0.1", *overrides])
    assert len(study.sets) >= 2
    again = from_tree(json.loads(json.dumps(study.to_tree())))
    assert again.configs() == study.configs()
    assert again.points() == study.points()
    assert again.sets == study.sets
    assert again.to_tree() == study.to_tree()


def test_what_no_point_changes_is_spelled_out_in_the_resolved_study() -> None:
    trial = load("mrpc_grid").to_tree()["trial"]
    assert trial["expert_layers"] == [0, 0, 0]
    assert "expert_layers" not in load("mrpc_pool_size").to_tree()["trial"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["pool=custom"], "needs a pool with sizes of its own"),
        (["pool={grid: [minilm, sample]}"], "needs one pool"),
        (["cost_vector=mpc_seconds"], "cost_vector mpc_seconds is not known for pool_size 4"),
        (["objectives={cost_mpc_gb: min}"], "unknown objectives 'cost_mpc_gb'"),
        (["objectives={cost_params: min}"], "did you mean cost_parameters"),
    ],
)
def test_what_not_every_set_has_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("mrpc_pool_size", overrides)
    assert message in str(caught.value)


def test_the_counted_vectors_may_be_named() -> None:
    study = load("mrpc_pool_size", ["cost_vector=flops", "objectives.cost_parameters=min"])
    assert study.cost_vector == "flops"


def test_every_set_is_checked_before_the_first_is_prepared(
    sample: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse_three(config: Any, *_: Any) -> None:
        if config.experts == 3:
            raise SourceError("the third expert is missing")

    def prepared(*_: Any) -> None:
        raise AssertionError("nothing is to be prepared")

    monkeypatch.setattr(frozen, "check_inputs", refuse_three)
    monkeypatch.setattr(frozen, "prepare", prepared)
    assert sample(*SIZES) == 2
    assert capsys.readouterr().err == "error: the third expert is missing\n"


def test_preparation_names_the_set(sample: Command, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = ("expert_seed={grid: [3, 4]}", "expert_epochs=1", "--dry-run")
    assert sample("mrpc_pool_size", *LITTLE, "pool_size=2", *seeds) == 0
    said = capsys.readouterr()
    assert "expert_seed 3: expert 1 of 2" in said.err
    assert "expert_seed 4: expert 1 of 2" in said.err
    assert said.out.count("ms a step and router of expert_seed") == 2


def test_each_trial_trains_on_its_own_set(sized: Path) -> None:
    sets = sets_of(sized)
    assert [each["pool_size"] for each in sets.values()] == [2, 3]
    homes: dict[str, set[str]] = {}
    for trial in rows(sized, "trials"):
        assert trial["experts_id"] == sets[trial["point"]]["experts_id"]
        assert trial["pool_size"] == sets[trial["point"]]["pool_size"]
        homes.setdefault(trial["pack"], set()).add(trial["experts_id"])
    assert all(len(experts) == 1 for experts in homes.values())
    assert {(row["experts_id"], row["expert"]) for row in rows(sized, "experts")} == {
        (each["experts_id"], n) for each in sets.values() for n in range(each["pool_size"])
    }


def test_tables_of_several_sets_reproduce_every_score_and_cost(sized: Path) -> None:
    sets = sets_of(sized)
    labels = {(row["split"], row["example"]): row["label"] for row in rows(sized, "examples")}
    said = {
        (row["experts_id"], row["split"], row["expert"], row["example"]): row["prediction"]
        for row in rows(sized, "experts")
    }
    routes: dict[tuple[str, str], dict[int, int]] = {}
    for row in rows(sized, "routing"):
        routes.setdefault((row["key"], row["split"]), {})[row["example"]] = row["route"]
    trials = rows(sized, "trials")
    assert len(trials) == 4
    for trial in trials:
        vectors = from_json(sets[trial["point"]]["cost_vectors"])
        for split in ("selection", "validation"):
            taken = routes[trial["key"], split]
            predictions = [
                [said[trial["experts_id"], split, route, each] for each, route in taken.items()]
            ]
            truth = np.array([labels[split, each] for each in taken])
            for name, value in evaluate(TASKS["mrpc"], np.array(predictions), truth).items():
                assert trial[f"{split}_{name}"] == value[0]
            chosen = np.array(list(taken.values()))
            share = np.bincount(chosen, minlength=trial["pool_size"]) / len(chosen)
            for name in ("constants", *_COUNTED, "mpc_seconds_as_if"):
                there = name in vectors
                wanted = vectors[name].mean(share) if there else None
                assert trial[f"{split}_cost_{name}"] == wanted
            assert ("mpc_seconds_as_if" in vectors) == (trial["pool_size"] == 3)


def test_a_trial_of_each_set_is_replayed(
    sized: Path, sample: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    for trial in rows(sized, "trials")[::2]:
        assert sample("--debug", "--key", trial["key"], "--run", str(sized)) == 0
        assert "equal to the run's numbers" in capsys.readouterr().out


def test_an_interrupted_run_over_sets_resumes_to_the_same_tables(
    sized: Path, sample: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(pack: Pack, job: Job, **more: Any) -> Iterator[Message]:
        for message in run_pack(pack, job, **more):
            yield message
            if pack.name == "pack01":
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(session, "_run_pack", interrupted)
    assert sample(*SIZES, "--name", "cut") == 130
    monkeypatch.setattr(session, "_run_pack", run_pack)
    assert sample("--resume", str(tmp_path / "runs" / "cut")) == 0
    assert_same_tables(tmp_path / "runs" / "cut", sized)


MEASURED: dict[str, Any] = {
    "format": "mpc-router costs 1",
    "name": "latency",
    "unit": "s",
    "task": "mrpc",
    "experts": [
        {"name": f"sample/{name}", "layers": 0, "cost": cost}
        for name, cost in (("tiny", 0.001), ("base", 0.5), ("large", 1.5))
    ],
    "router": {"stem": "model", "name": "sample/stem", "layers": 0, "cost": 0.25},
}


def test_measured_costs_are_reported_for_every_set_and_kept_in_the_study(
    sample: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "latency.json"
    file.write_text(json.dumps(MEASURED))

    def interrupted(pack: Pack, job: Job, **more: Any) -> Iterator[Message]:
        yield from run_pack(pack, job, **more)
        signal.raise_signal(signal.SIGINT)
        yield Message()

    monkeypatch.setattr(session, "_run_pack", interrupted)
    assert sample(*SIZES, f"cost_vector=file:{file}", "--name", "m") == 130
    file.unlink()
    monkeypatch.setattr(session, "_run_pack", run_pack)
    run = tmp_path / "runs" / "m"
    assert sample("--resume", str(run)) == 0
    sets = sets_of(run)
    shares = {
        (row["key"], row["split"]): row["share"]
        for row in rows(run, "reports")
        if row["epoch"] == 2
    }
    trials = rows(run, "trials")
    assert len(trials) == 4
    for trial in trials:
        costs = {2: [0.001, 1.5], 3: [0.001, 0.5, 1.5]}[trial["pool_size"]]
        assert sets[trial["point"]]["cost_vectors"]["latency"]["experts"] == costs
        for split in ("selection", "validation"):
            wanted = 0.25 + np.dot(shares[trial["key"], split], costs)
            assert trial[f"{split}_cost"] == pytest.approx(wanted, rel=1e-12)
            assert trial[f"{split}_cost_latency"] == trial[f"{split}_cost"]


def test_a_study_reports_under_all_vectors_of_a_file_and_under_the_one_that_it_names(
    tmp_path: Path,
) -> None:
    file = tmp_path / "prices.json"
    entries = {
        **MEASURED,
        "beside": [{"name": "gb", "unit": "GB sent"}],
        "experts": [{**entry, "beside": [7]} for entry in MEASURED["experts"]],
        "router": {**MEASURED["router"], "beside": [3]},
    }
    file.write_text(json.dumps(entries))
    study = load("mrpc_grid", ["pool=sample", f"cost_vector=file:{file}#gb"])
    assert study.cost_vector == "gb"
    vectors = study.measured_vectors(study.sets[0])
    assert list(vectors) == ["gb", "latency"]
    assert {"gb", "latency"} <= set(study.vector_names(study.sets[0]))
    with pytest.raises(ConfigError, match="no cost vector 'wan'"):
        load("mrpc_grid", ["pool=sample", f"cost_vector=file:{file}#wan"])


def test_measured_costs_that_lack_an_expert_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "latency.json"
    file.write_text(json.dumps({**MEASURED, "experts": MEASURED["experts"][::2]}))
    load("mrpc_pool_size", ["pool=sample", "pool_size=2", f"cost_vector=file:{file}"])
    with pytest.raises(ConfigError, match="sample/base"):
        load("mrpc_pool_size", ["pool=sample", f"cost_vector=file:{file}"])


def test_measured_costs_may_not_take_a_counted_vectors_name(tmp_path: Path) -> None:
    file = tmp_path / "flops.json"
    file.write_text(json.dumps({**MEASURED, "name": "flops"}))
    with pytest.raises(ConfigError, match="a new name"):
        load("mrpc_pool_size", ["pool=sample", f"cost_vector=file:{file}"])


def test_gated_and_supervised_routers_are_points_of_one_study(
    sample: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        *("mrpc_pool_size", *LITTLE, "pool_size=3", "epochs=2", "seeds=[0, 1]"),
        *("router={grid: [gated, supervised]}", "label_cost={grid: [0, 0.1]}"),
        *("router_labels=loss_cost", "--name", "s"),
    )
    assert sample(*arguments) == 0
    trials = rows(tmp_path / "runs" / "s", "trials")
    assert len(trials) == (1 + 2) * 2  # a gated router has no label cost
    assert {trial["status"] for trial in trials} == {"COMPLETED"}
    assert len({trial["experts_id"] for trial in trials}) == 1
    homes: dict[str, set[str]] = {}
    for trial in trials:
        homes.setdefault(trial["pack"], set()).add(trial["router"])
    assert all(len(routers) == 1 for routers in homes.values())
    key = next(each["key"] for each in trials if each["router"] == "supervised")
    capsys.readouterr()
    assert sample("--debug", "--key", key, "--run", str(tmp_path / "runs" / "s")) == 0
    assert "equal to the run's numbers" in capsys.readouterr().out


def test_a_profile_of_training_costs_changes_the_router_and_no_report(
    sample: Command, tmp_path: Path
) -> None:
    profiles = "expert_costs={grid: [[2, 7, 13], [13, 7, 2]]}"
    few = ("mrpc_cost_profiles", *LITTLE, "epochs=3", "seeds=[0]", "beta=2", profiles)
    assert sample(*few, "--name", "p") == 0
    run = tmp_path / "runs" / "p"
    as_given, reversed_ = rows(run, "trials")
    assert as_given["expert_costs"] == [2, 7, 13]
    assert as_given["selection_cost"] < reversed_["selection_cost"]
    (only,) = json.loads((run / "provenance.json").read_text())["sets"]
    assert only["cost_vectors"]["constants"]["experts"] == [2, 7, 13]
