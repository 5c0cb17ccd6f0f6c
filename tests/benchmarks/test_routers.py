"""The comparison of kinds of routers runs on recorded outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import routers

RECORDED = Path(__file__).parents[2] / "benchmarks/recorded/routers_mrpc.parquet"


def test_the_recorded_outputs_are_of_all_rows_and_three_experts() -> None:
    rows = pq.read_table(RECORDED)
    assert {name: rows["split"].to_pylist().count(name) for name in ("train", "validation")} == {
        "train": 3668,
        "validation": 408,
    }
    outputs = np.stack(rows["outputs"].to_numpy()).reshape(len(rows), 3, 2)
    right = outputs.argmax(-1) == rows["label"].to_numpy()[:, None]
    assert right.mean(axis=0) == pytest.approx([0.7, 0.75, 0.77], abs=0.05)


@pytest.mark.long
def test_every_kind_is_compared_at_every_cost(tmp_path: Path) -> None:
    rows = pq.read_table(RECORDED)
    part = pa.concat_tables([rows.slice(0, 400), rows.slice(3668, 200)])
    pq.write_table(part, tmp_path / "routers_mrpc.parquet")
    folder = tmp_path / "work"
    folder.mkdir()
    table, worths = routers.compare(
        tmp_path / "routers_mrpc.parquet", folder, seeds=1, vector="constants"
    )
    kinds = len(routers.SPACE["router_kind"]) * len(routers.SPACE["combine"])
    assert set(table["cap"]) <= set(routers.CAPS["constants"])
    assert table["kind"].nunique() == kinds
    assert (table.groupby("cap")["best"].sum() == 1).all()
    assert set(worths["kind"]) == set(table["kind"])
