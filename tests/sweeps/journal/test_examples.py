"""The bulk file of examples: labels and lengths, by expert where their tokenizers differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from analysis import schema
from mpc_router.prepare.inputs import SplitOutputs
from sweeps.journal import bulk_files


def split(by_expert: NDArray[np.int64] | None) -> SplitOutputs:
    """A split of three examples and two experts."""
    return SplitOutputs(
        split="validation",
        features=np.zeros((3, 1), np.float32),
        outputs=np.zeros((3, 2, 2), np.float32),
        labels=np.array([0.0, 1.0, 1.0]),
        example=np.array([4, 5, 9]),
        tokens=np.array([7, 8, 9]),
        tokens_by_expert=by_expert,
    )


def test_lengths_by_expert_are_kept_where_they_differ(tmp_path: Path) -> None:
    lengths = np.array([[7, 2], [3, 8], [9, 9]])
    bulk_files.write(tmp_path / "examples", [bulk_files.examples(split(lengths))])
    table = bulk_files.read(tmp_path / "examples", schema.EXAMPLES)
    assert table.schema.equals(schema.EXAMPLES)
    assert table["tokens_by_expert"].to_pylist() == lengths.tolist()


def test_a_file_without_them_is_read_as_before(tmp_path: Path) -> None:
    bulk_files.write(tmp_path / "examples", [bulk_files.examples(split(None))])
    table = bulk_files.read(tmp_path / "examples", schema.EXAMPLES)
    assert table.column_names == ["split", "example", "label", "tokens"]


def test_a_file_without_a_column_that_has_a_value_in_every_row_is_refused(tmp_path: Path) -> None:
    bulk_files.write(tmp_path / "examples", [pa.table({"split": ["validation"], "tokens": [3]})])
    with pytest.raises(
        ValueError, match="no bulk file with the columns split, example, label, tokens"
    ):
        bulk_files.read(tmp_path / "examples", schema.EXAMPLES)
