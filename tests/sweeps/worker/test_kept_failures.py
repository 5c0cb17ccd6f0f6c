"""Packs that keep their epochs: when, how they go on, and how they fail then."""

from __future__ import annotations

import dataclasses
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router.frozen._loop import Training
from mpc_router.results.records import StackState
from sweeps.journal.journal import read
from sweeps.journal.state import replay
from sweeps.records import FAILED, SELECTION, Kept, Message, Pack, Report, Trial, config_of
from sweeps.worker import _kept_states
from sweeps.worker import pack as pack_module
from sweeps.worker.job import Job
from sweeps.worker.pack import run_pack
from tests.sweeps.worker.test_kept_states import LONG

Place = tuple[str, int, str]


@pytest.fixture(autouse=True)
def each_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is written after every epoch."""
    monkeypatch.setattr(_kept_states, "STATE_PAUSE", 0.0)
    monkeypatch.setattr(_kept_states, "_SHARE", 0)


@pytest.fixture(scope="module")
def pack(made_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """Six lanes of one stack that train five epochs."""
    run = made_run(tmp_path_factory.mktemp("long") / "r", *LONG)
    return replay(read(run / "journal.jsonl")).packs["pack00"]


@pytest.fixture
def job(prepared_folder: Path, pack: Pack, tmp_path: Path) -> Job:
    (tmp_path / "parts").mkdir()
    return Job(
        prepared={trial.prepared: prepared_folder for trial in pack.trials},
        parts=tmp_path / "parts",
        checkpoints=tmp_path / "checkpoints",
        states=tmp_path / "states",
    )


def reports_of(messages: list[Message]) -> dict[Place, Report]:
    return {report.place: report for message in messages for report in message.reports}


def endings_of(messages: list[Message]) -> dict[str, tuple[str, int, str | None]]:
    return {
        ending.key: (ending.status, ending.epochs, ending.reason)
        for message in messages
        for ending in message.endings
    }


def with_settings(pack: Pack, trials: tuple[Trial, ...], **training: Any) -> Pack:
    """A pack of these trials with other settings of training."""
    changed = []
    for trial in trials:
        config = json.loads(trial.config)
        config["training"] |= training
        changed.append(dataclasses.replace(trial, config=json.dumps(config)))
    return dataclasses.replace(pack, trials=tuple(changed))


@pytest.mark.parametrize("epoch", ["best_score", "last"])
def test_a_stack_whose_lanes_all_turn_nan_in_an_epoch_fails_by_name_and_keeps_no_state(
    pack: Pack, job: Job, epoch: str
) -> None:
    doomed = with_settings(pack, pack.trials[:1], learning_rate=1e30, epoch=epoch)
    messages = list(run_pack(doomed, job))
    ((status, _, reason),) = endings_of(messages).values()
    assert status == FAILED
    assert "became NaN or infinite" in (reason or "")
    assert all(message.kept is None for message in messages)


def kept_after(pack: Pack, job: Job, epoch: int) -> Kept:
    """Trains a pack up to this epoch, as a session that ends then; gives what it has kept."""
    for message in run_pack(pack, job):
        if message.kept is not None and message.kept.epoch == epoch:
            return message.kept
    raise AssertionError(f"no state was kept after epoch {epoch}")


def fails_in(
    monkeypatch: pytest.MonkeyPatch, epoch: int, error: Exception, where: Callable[[Training], bool]
) -> None:
    """A stack of which `where` is true fails at the end of this epoch, after all of its steps."""
    real = Training.train_epoch

    def failing(training: Training, number: int, progress: Any) -> Any:
        terms = real(training, number, progress)
        if number == epoch and where(training):
            raise error
        return terms

    monkeypatch.setattr(Training, "train_epoch", failing)


def test_a_stack_that_runs_out_of_memory_as_it_goes_on_is_divided_at_the_kept_epoch(
    pack: Pack, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = reports_of(list(run_pack(pack, job)))
    kept = kept_after(pack, job, 2)
    sizes: list[int] = []

    def is_too_large(training: Training) -> bool:
        sizes.append(len(training.live))
        return len(training.live) > 3

    fails_in(monkeypatch, 3, torch.OutOfMemoryError("CUDA out of memory."), is_too_large)
    resumed = reports_of(list(run_pack(pack, job, kept=kept)))
    assert sizes == [6, 3, 3]
    expected = {place for place in undisturbed if place[1] > 2 or place[2] != SELECTION}
    assert resumed.keys() == expected
    for place, report in resumed.items():
        assert undisturbed[place].difference(report) is None


def test_an_exception_fails_the_same_trials_wherever_the_pack_goes_on_from(
    pack: Pack, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    guilty = pack.trials[4]

    def has_guilty_lane(training: Training) -> bool:
        config = config_of(guilty)
        return any(lane.seed == guilty.seed and lane.config == config for lane in training.lanes)

    fails_in(monkeypatch, 3, AssertionError("a route to nowhere"), has_guilty_lane)
    undisturbed = endings_of(list(run_pack(pack, job)))
    assert set(undisturbed.values()) == {(FAILED, 2, "AssertionError: a route to nowhere")}
    for epoch in (1, 2):
        kept = kept_after(pack, job, epoch)
        assert endings_of(list(run_pack(pack, job, kept=kept))) == undisturbed


def test_a_stack_that_has_gone_on_holds_the_state_that_it_began_from_no_longer(
    pack: Pack, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_after(pack, job, 2)
    starts: list[weakref.ref[StackState]] = []

    def watched(*arguments: Any) -> list[tuple[list[Trial], StackState]]:
        stacks = _kept_states.read_stacks(*arguments)
        starts.extend(weakref.ref(state) for _, state in stacks)
        return stacks

    monkeypatch.setattr(pack_module, "read_stacks", watched)
    messages = run_pack(pack, job, kept=kept)
    next(messages)
    assert [start() for start in starts] == [None]
    messages.close()


def test_fitted_routers_go_on_from_a_state_without_tensors(pack: Pack, job: Job) -> None:
    trials = []
    for trial in pack.trials[:2]:
        config = json.loads(trial.config)
        config["model"] |= {"router_kind": "predictive", "stem": "expert"}
        trials.append(dataclasses.replace(trial, config=json.dumps(config)))
    fitted = with_settings(pack, tuple(trials), epoch="last")
    undisturbed = reports_of(list(run_pack(fitted, job)))
    kept = kept_after(fitted, job, 2)
    messages = list(run_pack(fitted, job, kept=kept))
    assert messages[0].restarts == ""
    assert min(place[1] for place in reports_of(messages)) == 3
    for place, report in reports_of(messages).items():
        assert undisturbed[place].difference(report) is None


def test_a_state_is_asked_for_where_it_is_due_alone(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first state asks once more, for its size: 10 MB are due 4 s after the pack began."""
    monkeypatch.undo()
    monkeypatch.setattr(_kept_states, "STATE_PAUSE", 1.0)
    now, asked = [0.0], list[float]()

    def states() -> list[_kept_states.TrialsState]:
        asked.append(now[0])
        tensors = {"weights": torch.zeros(1, 2_500_000)}
        return [(pack.trials, StackState(epoch=1, lanes=np.arange(1), tensors=tensors))]

    writer = _kept_states.StateWriter(pack=pack, folder=tmp_path / "states", clock=lambda: now[0])
    written = []
    for tenth in range(60):
        now[0] = tenth / 10
        if writer.write(states) is not None:
            written.append(now[0])
    assert asked == [1.0, *written]
    assert written[0] == 4.0
    assert written[1:] == [5.0]  # for writing took no time by this clock
