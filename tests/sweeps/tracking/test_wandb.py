"""What W&B, offline, and trackio hold of a run, by their own readers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.tracking._follow import follow
from sweeps.tracking._tracker import TrackedTrial
from tests.sweeps.conftest import rows
from tests.sweeps.tracking.conftest import Memory, measured, results

GRID = ("mrpc_grid", "pool=sample", "router_hidden_size=8", "epochs=2", "seeds=[0]", "beta=0.1")


@pytest.fixture
def small(made_run: Callable[..., Path], tmp_path: Path) -> Path:
    """A run of few trials, for W&B takes a second for each."""
    return made_run(tmp_path / "runs" / "r", *GRID)


def _trials(run: Path) -> dict[str, TrackedTrial]:
    memory = Memory()
    follow(run, memory, lambda: True)
    return memory.trials


def _track(library: str, run: Path) -> None:
    from sweeps.tracking._wandb import Wandb

    follow(run, Wandb(library), lambda: True)


def _check(rows_of_trial: list[dict[str, Any]], key: str, run: Path) -> None:
    """All numbers of one trial are those of the tables, selection's at its epoch."""
    reports, ends, trial = measured(run)[key], results(run)[key], _trials(run)[key]
    assert trial.end is not None
    steps: dict[int, dict[str, Any]] = {}
    for row in rows_of_trial:
        steps.setdefault(row["step"], {}).update(row)
    for (epoch, name), value in reports.items():
        assert steps[epoch][name] == value
    for name, value in ends.items():
        assert steps[trial.end.epochs][name] == value
    assert steps[trial.end.epochs]["status"] == trial.end.status
    assert set(steps) == set(range(1, trial.end.epochs + 1))


_BLOCK = 2**15
"""Bytes of a block of W&B's file, which is a log of LevelDB's with a head of seven bytes."""


def _offline_records(folder: Path) -> Iterator[Any]:
    """W&B's own records of a run that was logged offline."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    content, place, piece = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if _BLOCK - place % _BLOCK < 7:  # no record begins in the last bytes of a block
            place += _BLOCK - place % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        piece += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(piece)
            piece = b""
            yield record


def test_wandb_offline_holds_the_numbers_of_the_tables_with_their_times(
    small: Path, own_folders: Path
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    _track("wandb", small)
    trials = _trials(small)
    folders = sorted((own_folders / "wandb").glob("offline-run-*"))
    assert len(folders) == len(trials) == len(rows(small, "trials"))
    keys = set()
    for folder in folders:
        history: list[dict[str, Any]] = []
        for record in _offline_records(folder):
            if record.HasField("run"):
                run = record.run
            if record.HasField("history"):
                values = {
                    (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
                    for item in record.history.item
                }
                history.append({**values, "step": values["_step"]})
        config = {
            (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
            for item in run.config.update
        }
        trial = trials[config["key"]]
        keys.add(trial.key)
        assert (run.project, run.run_group) == ("mrpc_grid", "r")
        assert run.display_name == f"r/{trial.name}"
        assert config["alpha"] == trial.settings["alpha"]
        _check(history, trial.key, small)
        times = {item.epoch: item.time for item in trial.measurements}
        first = next(row for row in history if row["step"] == 1)
        assert first["_timestamp"] == times[1]
    assert keys == trials.keys()


def test_trackio_holds_the_numbers_of_the_tables_each_once(
    searched: Path, own_folders: Path
) -> None:
    pytest.importorskip("trackio", reason="trackio is not installed")
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    lines = (searched / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (searched / "journal.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    _track("trackio", searched)
    (searched / "journal.jsonl").write_bytes(b"".join(lines))
    _track("trackio", searched)
    trials = {f"r/{trial.name}": trial for trial in _trials(searched).values()}
    runs = list(Api().runs("mrpc_pareto"))
    assert {run.name for run in runs} == trials.keys()
    assert len(runs) == len(trials)
    for run in runs:
        trial = trials[run.name]
        assert run.config["alpha"] == trial.settings["alpha"]
        assert run.config["_Group"] == "r"
        logs = SQLiteStorage.get_logs("mrpc_pareto", run.name)
        _check(logs, trial.key, searched)
        assert [row["step"] for row in logs if "epoch" in row] == sorted(
            {item.epoch for item in trial.measurements}
        )
