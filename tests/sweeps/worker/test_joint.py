"""Trials whose experts train too: one a pack, and everything else as for frozen ones."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_router.costs import from_json
from mpc_router.joint._loop import JointTraining
from mpc_router.results.checkpoint import JointCheckpoint, LaneCheckpoint, load
from mpc_router.tasks import TASKS, evaluate
from sweeps.driver import session
from sweeps.journal.journal import read
from sweeps.journal.state import replay
from sweeps.raytune._returning import Arrivals, Returns
from sweeps.records import COMPLETED, FAILED, INTERRUPTED, Kept, Message, Pack
from sweeps.run import main
from sweeps.worker.job import EPOCHS, Job
from sweeps.worker.pack import run_pack
from tests.sweeps.conftest import LITTLE, assert_same_tables, rows, without_ray

Command = Callable[..., int]

BOTH = (
    *("mrpc_grid", *LITTLE, "alpha=0.05", "beta=0.08", "seeds=[0, 1]", "epochs=2"),
    *("experts={grid: [frozen, joint]}", "expert_start=fine_tuned"),
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, sample_cache: Path) -> Path:
    """A run of frozen and joint trials."""
    folder = tmp_path_factory.mktemp("joint")
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        known = ("--cache", str(sample_cache), "--out", str(folder), "--no-report")
        assert main([*BOTH, "--sample", "--name", "r", *known]) == 0
    return folder / "r"


def joint_trials(run: Path) -> list[dict[str, Any]]:
    return [trial for trial in rows(run, "trials") if trial["experts"] == "joint"]


def test_a_joint_trial_is_a_pack_with_experts_of_its_own(both: Path) -> None:
    trials = rows(both, "trials")
    assert {trial["status"] for trial in trials} == {COMPLETED}
    assert len(trials) == 4
    own = joint_trials(both)
    assert len({trial["pack"] for trial in own}) == 2
    assert [trial["experts_id"] for trial in own] == [trial["key"] for trial in own]
    assert {trial["experts_id"] for trial in trials} == {
        row["experts_id"] for row in rows(both, "experts")
    }
    sets = json.loads((both / "provenance.json").read_text())["sets"]
    assert [(each["joint"], each["points"]) for each in sets] == [(False, ["p00"]), (True, ["p01"])]


def test_its_tables_reproduce_its_scores_and_costs(both: Path) -> None:
    labels = {(row["split"], row["example"]): row["label"] for row in rows(both, "examples")}
    said = {
        (row["experts_id"], row["split"], row["expert"], row["example"]): row
        for row in rows(both, "experts")
    }
    sets = json.loads((both / "provenance.json").read_text())["sets"]
    vectors = from_json(sets[1]["cost_vectors"])
    routing = rows(both, "routing")
    for trial in joint_trials(both):
        for split in ("selection", "validation"):
            taken = {
                row["example"]: row["route"]
                for row in routing
                if (row["key"], row["split"]) == (trial["key"], split)
            }
            chosen = [said[trial["key"], split, route, each] for each, route in taken.items()]
            predictions = np.array([[row["prediction"] for row in chosen]])
            truth = np.array([labels[split, each] for each in taken])
            for row, label in zip(chosen, truth, strict=True):
                assert row["right"] == (row["prediction"] == label)
            for name, value in evaluate(TASKS["mrpc"], predictions, truth).items():
                assert trial[f"{split}_{name}"] == value[0]
            share = np.bincount(list(taken.values()), minlength=3) / len(taken)
            for name, vector in vectors.items():
                assert trial[f"{split}_cost_{name}"] == vector.mean(share)


def test_its_checkpoint_is_whole_and_its_epochs_are_gone(both: Path) -> None:
    for trial in rows(both, "trials"):
        folder = both / "checkpoints" / trial["key"]
        found = load(folder)
        assert isinstance(found, JointCheckpoint if trial["experts"] == "joint" else LaneCheckpoint)
        assert (found.seed, found.epoch) == (trial["seed"], 2)
        assert not (folder / EPOCHS).exists()


def test_a_joint_trial_is_replayed_and_equal(
    both: Path, sample: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    key = joint_trials(both)[1]["key"]
    before = sorted(both.rglob("*"))
    assert sample("--debug", "--key", key, "--run", str(both)) == 0
    assert "equal to the run's numbers: 3 reports" in capsys.readouterr().out
    assert sorted(both.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.parametrize("how", [pytest.param("stopped", marks=pytest.mark.long), "killed"])
def test_an_interrupted_joint_run_goes_on_from_its_newest_epoch_to_the_same_tables(
    both: Path, sample: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    run = tmp_path / "runs" / "cut"

    def interrupted(pack: Pack, job: Job, **more: Any) -> Iterator[Message]:
        for message in run_pack(pack, job, **more):
            if pack.name == "pack01" and how == "killed":
                raise RuntimeError("the process is gone before it could say what it measured")
            if pack.name == "pack01":
                signal.raise_signal(signal.SIGINT)
            yield message

    monkeypatch.setattr(session, "_run_pack", interrupted)
    if how == "stopped":
        assert sample(*BOTH, "--name", "cut") == 130
    else:
        with pytest.raises(RuntimeError, match="the process is gone"):
            sample(*BOTH, "--name", "cut")
    state = replay(read(run / "journal.jsonl"))
    (first, _) = [trial["key"] for trial in joint_trials(both)]
    assert state.endings[first].status == INTERRUPTED
    assert (run / "checkpoints" / first / EPOCHS).exists()
    trained: list[int] = []
    real = JointTraining.train_epoch

    def counted(training: JointTraining, epoch: int, progress: Any) -> Any:
        trained.append(epoch)
        return real(training, epoch, progress)

    monkeypatch.setattr(JointTraining, "train_epoch", counted)
    monkeypatch.setattr(session, "_run_pack", run_pack)
    assert sample("--resume", str(run)) == 0
    assert trained == [2, 1, 2]
    assert_same_tables(run, both)


def test_a_joint_trial_that_fails_says_where_and_the_others_go_on(
    sample: Command, tmp_path: Path
) -> None:
    joint = ("experts=joint", "expert_start=fine_tuned", "learning_rate={grid: [1e-3, 1e30]}")
    few = ("mrpc_grid", *LITTLE, "alpha=0.05", "beta=0.08", "seeds=[0]", "epochs=1", *joint)
    assert sample(*few, "gradient_clip=0", "--name", "f") == 4
    trials = {trial["learning_rate"]: trial for trial in rows(tmp_path / "runs" / "f", "trials")}
    assert trials[1e-3]["status"] == COMPLETED
    assert trials[1e30]["status"] == FAILED
    assert "step" in trials[1e30]["reason"]
    assert {row["experts_id"] for row in rows(tmp_path / "runs" / "f", "experts")} == {
        trials[1e-3]["key"]
    }


def test_dry_run_measures_a_step_in_which_all_trains(
    sample: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert sample(*BOTH, "router=supervised", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "2 points x 2 seeds = 4 trials in 3 packs" in said
    assert "ms a step and router of experts frozen" in said
    assert "ms a step and pool of experts joint (measured)" in said
    assert list(tmp_path.iterdir()) == []


def test_what_joint_training_cannot_do_is_refused_before_anything_is_prepared(
    sample: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert sample(*BOTH, "stem=expert") == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: stem=expert goes with frozen experts alone")
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_joint_trial_goes_on_on_another_node_that_shares_nothing(
    both: Path, sample: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, fetched = tmp_path / "runs" / "r", list[list[str]]()

    def call(method: str, *arguments: Any) -> Any:
        return getattr(Arrivals(run), method)(*arguments)

    def on_a_node(pack: Pack, job: Job, *, kept: Kept | None = None) -> Iterator[Message]:
        node = tmp_path / f"node{len(fetched)}"
        node.mkdir()
        returns = Returns(home=node, call=call, keys=[trial.key for trial in pack.trials])
        fetched.append(call("epochs", returns.keys))
        for name in fetched[-1]:
            (node / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(run / name, node / name)
        returns.note(fetched[-1])
        there = dataclasses.replace(
            job, parts=node / "parts", checkpoints=node / "checkpoints", states=node / "states"
        )
        for message in run_pack(pack, there, kept=kept):
            returns.send()
            if pack.attempt == 1 and pack.name == "pack02":
                (run / "stop").touch()
            yield message
        returns.send()

    with monkeypatch.context() as patch:
        patch.setattr(session, "_run_pack", lambda *given, **more: _sent(on_a_node(*given, **more)))
        assert sample(*BOTH, "--name", "r") == 143
        assert sample("--resume", str(run)) == 0
    assert [len(names) > 0 for names in fetched] == [False] * 3 + [True, False][: len(fetched) - 3]
    assert not list(run.rglob(EPOCHS))
    assert_same_tables(run, both)


def _sent(messages: Iterator[Message]) -> Generator[Message, Any, None]:
    """Makes a generator of messages that takes answers, which nothing here needs."""
    yield from messages
