"""Preparing takes as much memory for a large train set as for a small one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.memory import MEGABYTE, measured, write_pairs
from mpc_router.config.trial import trial_config
from mpc_router.data.sources import Source, load_splits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status")

A_ROW = 64
"""Bytes that one more row may take: numbers, while its texts and tokens take hundreds."""

SLACK = 12 * MEGABYTE
"""What two equal processes may differ by: allocators, other numbers of rows in a chunk."""


@pytest.mark.long
def test_eight_times_the_rows_take_hardly_more_memory() -> None:
    few, many = (measured(rows, asked=300) for rows in (5_000, 40_000))
    assert many["rows"] - few["rows"] == pytest.approx(35_000, rel=0.01)
    for stage in ("tokens", "peak"):
        assert many[stage] - few[stage] < SLACK + 35_000 * A_ROW


def test_the_generated_pairs_are_a_task(tmp_path: Path) -> None:
    write_pairs(tmp_path, rows=300)
    splits = load_splits(
        trial_config({"pool": "sample", "task": "qqp"}), Source(kind="folder", folder=tmp_path)
    )
    assert len(splits["train"]) + len(splits["selection"]) == 300
    assert all(text for column in splits["train"].texts for text in column)
