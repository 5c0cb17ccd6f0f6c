"""A run with stopped and finished points, and what its tables say of it in a tracker's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeps.tracking._tracker import Sweep, TrackedTrial
from tests.sweeps.conftest import rows

SEARCH = (
    *("mrpc_pareto", "pool=sample", "epochs=4", "seeds=[0, 1]", "search.points=12"),
    *("search.method=random", "stopping.bracket=6", "router_hidden_size={choice: [8, 16]}"),
)
"""Two brackets with rungs after epochs 1 and 3; stopped points of the front are finished."""


class Memory:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.sweep: Sweep | None = None
        self.trials: dict[str, TrackedTrial] = {}
        self.told = 0
        self.files: list[Path] = []

    def begin(self, sweep: Sweep) -> None:
        assert self.sweep is None
        self.sweep = sweep

    def tell(self, trial: TrackedTrial) -> None:
        earlier = self.trials.get(trial.key)
        if earlier is not None and earlier.version == trial.version:
            assert trial.measurements[: len(earlier.measurements)] == earlier.measurements
        self.trials[trial.key] = trial
        self.told += 1

    def finish(self, files: Sequence[Path], time: float) -> str:
        self.files = list(files)
        assert all(trial.end is not None for trial in self.trials.values())
        return "here"


def measured(run: Path) -> dict[str, dict[tuple[int, str], float]]:
    """What the table of reports says by key, epoch and `split/column`."""
    numbers: dict[str, dict[tuple[int, str], float]] = {}
    for row in rows(run, "reports"):
        values = {name: value for name, value in row.items() if isinstance(value, float)}
        for kind in ("share", "gate"):
            values |= {f"{kind}_expert_{k}": value for k, value in enumerate(row[kind])}
        trial = numbers.setdefault(row["key"], {})
        trial |= {(row["epoch"], f"{row['split']}/{name}"): v for name, v in values.items()}
    return numbers


def results(run: Path) -> dict[str, dict[str, float]]:
    """What the table of trials says by key and column of a split's results."""
    return {
        row["key"]: {
            name: value
            for name, value in row.items()
            if name.startswith(("selection_", "validation_")) and value is not None
        }
        for row in rows(run, "trials")
    }


def told(trials: Mapping[str, TrackedTrial]) -> dict[str, dict[tuple[int, str], float]]:
    """The same as `measured` of what a tracker was told, without costs of other vectors."""
    return {
        key: {
            (item.epoch, name): value
            for item in trial.measurements
            for name, value in item.values.items()
            if "/cost_" not in name
        }
        for key, trial in trials.items()
    }


@pytest.fixture
def searched(made_run: Callable[..., Path], tmp_path: Path) -> Path:
    return made_run(tmp_path / "runs" / "r", *SEARCH)


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every tracker keeps its things in this folder, and asks for no network."""
    folder = tmp_path / "kept"
    folder.mkdir()
    settings: dict[str, Any] = {
        "WANDB_MODE": "offline",
        "WANDB_DIR": folder,
        "WANDB_SILENT": "true",
        "TRACKIO_DIR": folder / "trackio",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(folder)
    return folder
