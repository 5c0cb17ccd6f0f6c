"""The pages that add a part or a task, followed from an empty folder to a run."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sweeps.stopping.own_rules import rung_of
from tests.mpc_router.families import save_tiny
from tests.own_parts.conftest import ROOT, few_draws, forget
from tests.sweeps.conftest import LITTLE, without_ray
from tests.walks import blocks_of, walk

__all__ = ["few_draws"]
MODULES = ("my_sampler", "my_metric", "my_router", "my_parts")
Follow = Callable[..., Path]


@pytest.fixture
def follow(tmp_path: Path, sample_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follow]:
    """Follows a guide in a folder from which Python imports, and trains in this process."""
    without_ray(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def followed(name: str, *settings: str, **replaced: str) -> Path:
        forget()
        walk(
            f"guides/{name}",
            cache=sample_cache,
            settings=settings or LITTLE,
            replaced=replaced,
        )
        return tmp_path

    yield followed
    for name in MODULES:
        sys.modules.pop(name, None)


def scores(run: Path, column: str = "validation_score") -> list[float]:
    values: list[float] = pq.read_table(run / "trials.parquet")[column].to_pylist()
    return values


def test_a_sampler_is_added(follow: Follow) -> None:
    points = {"search.points=54": "search.points=9 stopping.bracket=9 seeds=[0] epochs=2"}
    folder = follow("add_a_sampler", **points)
    assert len(scores(folder / "runs/near_best")) == 9


def test_a_metric_is_added(follow: Follow) -> None:
    run = follow("add_a_metric") / "runs/worst"
    assert scores(run) == scores(run, "validation_my_metric:worst_recall")


def test_a_router_is_added(follow: Follow) -> None:
    run = follow("add_a_router") / "runs/lengths"
    kinds = set(pq.read_table(run / "trials.parquet")["router_kind"].to_pylist())
    assert kinds == {"gated", "my_router:Lengths"}


def test_a_task_is_added(follow: Follow, tmp_path: Path) -> None:
    (tmp_path / "tickets").mkdir()
    for split, count in (("train", 60), ("validation", 30)):
        with (tmp_path / f"tickets/{split}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(("body", "queue"))
            table.writerows((f"a text {n}", ("sales", "billing")[n % 2]) for n in range(count))
    for name in ("small", "middle", "large"):
        save_tiny(tmp_path / "MODELS/org" / name, "bert", num_hidden_layers=1)
    follow("add_a_task", "expert_epochs=1", "epochs=1")
    (run,) = (tmp_path / "runs").iterdir()
    assert len(scores(run)) == 12


def test_the_python_of_the_other_parts_runs(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package of the page's last block is the example, installed."""
    monkeypatch.chdir(site)
    names: dict[str, Any] = {}
    for language, text in blocks_of(ROOT / "docs/guides/own_parts.md"):
        if language == "python":
            exec(text, names)
    rung = rung_of(np.array([[0.1, 2.0], [0.2, 1.0]]), np.zeros(2), 1, 3)
    assert names["near_best"](rung).tolist() == [True, False]
