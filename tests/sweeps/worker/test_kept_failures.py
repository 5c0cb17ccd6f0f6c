"""Packs that go on from a kept epoch fail as undisturbed ones do, and no further."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mpc_router.frozen._loop import Training
from sweeps.journal.journal import read
from sweeps.journal.state import replay
from sweeps.records import FAILED, SELECTION, Kept, Message, Pack, Report, Trial
from sweeps.worker import _kept_states
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
    folders = {name: tmp_path / name for name in ("parts", "checkpoints", "states")}
    folders["parts"].mkdir()
    return Job(prepared={trial.prepared: prepared_folder for trial in pack.trials}, **folders)


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
    import json

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
