"""Curves of routers with a knob: written when a session ends, and again by any resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

Sample = Callable[..., int]

WORDS = ("mrpc_grid", "epochs=1", "seeds=[0]", "alpha=0.01", "beta=0.01", "--name", "r")


def test_a_session_ends_with_the_curves_of_its_routers(command: Sample, tmp_path: Path) -> None:
    kinds = "router_kind={grid: [gated, clusters]}"
    assert command(*WORDS, kinds, "--no-report") == 0
    path = tmp_path / "runs" / "r" / "curves.parquet"
    curves = pq.read_table(path)
    trials = pq.read_table(path.with_name("trials.parquet")).to_pylist()
    assert set(curves["key"].to_pylist()) == {
        row["key"] for row in trials if row["router_kind"] == "clusters"
    }
    path.unlink()
    assert command("--resume", str(path.parent), "--no-report") == 0
    assert pq.read_table(path).equals(curves)


def test_a_study_of_gates_has_no_curves(command: Sample, tmp_path: Path) -> None:
    assert command(*WORDS, "--no-report") == 0
    assert not (tmp_path / "runs" / "r" / "curves.parquet").exists()
