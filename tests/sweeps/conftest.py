"""Runs on small random outputs of experts, without any model."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis import schema
from analysis.stats import resampling
from mpc_router.prepare import frozen
from mpc_router.prepare.frozen import _ARRAYS, Prepared, open_prepared
from mpc_router.run_names import FURTHER_TABLES, table_file
from mpc_router.storage import cache
from sweeps import run
from sweeps.commands import sweep
from tests.mpc_router.conftest import random_prepared

SMALL = {"train": 96, "selection": 60, "validation": 80}
FIX = ("epochs=2", "router_hidden_size=8", "pool=sample")


def on_disk(
    folder: Path,
    *,
    task: str = "mrpc",
    definition: dict[str, Any] | None = None,
    rows: dict[str, int] = SMALL,
) -> Prepared:
    """Random outputs where a worker can open them; a definition is of a task like GLUE's."""
    made = random_prepared(task=task, rows=rows, features=8)

    def make(fresh: Path) -> dict[str, Any]:
        for name, split in made.splits.items():
            for array in _ARRAYS:
                np.save(fresh / f"{name}.{array}.npy", getattr(split, array))
        np.save(fresh / "feature_mean.npy", made.feature_mean)
        np.save(fresh / "feature_deviation.npy", made.feature_deviation)
        return {
            "task": task,
            **({} if definition is None else {"task_definition": definition}),
            "data_fingerprint": made.data_fingerprint,
            "experts_id": made.experts_id,
            "experts": [dataclasses.asdict(expert) for expert in made.experts],
            "stem": dataclasses.asdict(made.stem),
            "notes": [],
            "synthetic": True,
            "vectors": {},
            "splits": {name: {"note": None, "origin": "train"} for name in made.splits},
        }

    cache.entry(folder, make)
    return open_prepared(folder)


@pytest.fixture(scope="module", autouse=True)
def few_draws() -> Iterator[None]:
    """The front that each sweep in this process prints draws 20 resamples: with all 1000 it is half
    of a small sweep's time. The tests of `analysis` draw them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "resamples_for", lambda _: 20)
        yield


@pytest.fixture
def no_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps in this process print no front: to read and judge all tables for it is a quarter of a
    small search's time."""
    monkeypatch.setattr(sweep, "_show", lambda *_: None)


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "entry"
    on_disk(folder)
    return folder


def without_ray(patch: pytest.MonkeyPatch) -> None:
    """`sweeps.run` trains in this process."""
    from sweeps.driver import ray_start, session

    def train(
        journal: Any,
        display: Any,
        planner: Any,
        common: Any,
        ray: Any,
        refresh: Any,
        clock: Any,
    ) -> Any:
        return session.train_in_process(journal, display, planner, common, refresh, clock)

    patch.setattr(session, "train", train)
    patch.setattr(ray_start.RayStart, "begin", lambda _: None)


def already_prepared(patch: pytest.MonkeyPatch, prepared: Path) -> None:
    """`sweeps.run` takes what is prepared there, and trains it on Ray, in processes of its own."""
    patch.setattr(frozen, "prepare", lambda *_: open_prepared(prepared))
    patch.setattr(frozen, "check_inputs", lambda *_: None)


def in_process(patch: pytest.MonkeyPatch, prepared: Path) -> None:
    """It takes what is prepared there, and trains it in this process."""
    without_ray(patch)
    already_prepared(patch, prepared)


LITTLE = (
    *("train_rows=96", "validation_rows=60", "expert_epochs=1", "router_hidden_size=8"),
    "pool=sample",
)
"""Of the sample: what can be trained in a second."""


@pytest.fixture
def sample(
    sample_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., int]:
    """`sweeps.run` on a little of the sample, really prepared; no Ray is started."""
    without_ray(monkeypatch)

    def call(*arguments: str) -> int:
        known = ["--out", str(tmp_path / "runs"), "--cache", str(sample_cache), "--no-report"]
        return run.main([*arguments, *known, *([] if "--resume" in arguments else ["--sample"])])

    return call


OF_THE_CLOCK = {"trials": ("seconds", "attempt"), "reports": ("seconds",)}
"""Columns that say when and how often, and nothing of what was measured."""


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """A table of a run as rows."""
    found: list[dict[str, Any]] = pq.read_table(folder / f"{table}.parquet").to_pylist()
    return found


def assert_same_tables(found: Path, wanted: Path) -> None:
    """The same rows in the same order, equal in every number but the clock's."""
    further = [name for name in FURTHER_TABLES if (wanted / table_file(name)).exists()]
    assert further == [name for name in FURTHER_TABLES if (found / table_file(name)).exists()]
    for table in (*schema.TABLES, *further):
        mine, others = (pq.read_table(run / table_file(table)) for run in (found, wanted))
        clock = list(OF_THE_CLOCK.get(table, ()))
        assert len(mine) == len(others) > 0, table
        assert mine.drop(clock).equals(others.drop(clock)), table


@pytest.fixture(scope="session")
def made_run(
    prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Copies a run of these words on the random outputs, which is made once and ends with that
    code, to a folder."""

    @functools.cache
    def made(code: int, *words: str) -> Path:
        out = tmp_path_factory.mktemp("made")
        where = ["--name", "r", "--out", str(out), "--cache", str(out / "cache")]
        with pytest.MonkeyPatch.context() as patch:
            in_process(patch, prepared_folder)
            assert run.main([*words, *where, "--sample", "--no-report", "--quiet"]) == code
        return out / "r"

    def copied(folder: Path, *words: str, code: int = 0) -> Path:
        return Path(shutil.copytree(made(code, *words), folder))

    return copied


@pytest.fixture
def command(
    prepared_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., int]:
    """`sweeps.run` on the random outputs; nothing is prepared and no Ray is started."""
    in_process(monkeypatch, prepared_folder)

    def call(*arguments: str) -> int:
        known = ["--out", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")]
        return run.main([*arguments, *known, "--sample"])

    return call
