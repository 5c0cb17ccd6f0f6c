"""Bulk files of a run, `parts/`: written by workers, named with their hash in the journal."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

EXPERTS: Final = "experts.parquet"
EXAMPLES: Final = "examples.parquet"


def write(path: Path, tables: Iterable[pa.Table]) -> str:
    """Writes one Parquet file, whole or not at all; gives its sha256. Zstd."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".tmp", dir=path.parent)
    os.close(handle)
    fresh = Path(name)
    try:
        pq.write_table(pa.concat_tables(list(tables)), fresh, compression="zstd")
        with fresh.open("rb+") as file:
            os.fsync(file.fileno())
            found = hashlib.file_digest(file, "sha256").hexdigest()
        fresh.chmod(0o644)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return found


def digest(path: Path) -> str:
    """The file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def routes_of(path: Path, key: str) -> pa.Table:
    """The rows of one trial in a pack's file, as `routing` made them."""
    return pq.read_table(path, filters=[("key", "=", key)])


def routing(
    key: str,
    split: str,
    *,
    example: NDArray[np.int64],
    routes: NDArray[np.uint8],
    logits: NDArray[np.float32],
) -> pa.Table:
    """One trial's routes on one split. Shapes (N,), (N,) and (N, K)."""
    return pa.table(
        {
            "key": repeated(key, len(example)),
            "split": repeated(split, len(example)),
            "example": example,
            "route": routes.astype(np.uint8),
            "logits": lists(logits),
        }
    )


def repeated(text: str, count: int) -> pa.Array:
    """A column that says one thing."""
    return pa.repeat(pa.scalar(text, pa.string()), count)


def lists(values: NDArray[np.float32]) -> pa.Array:
    """The rows of (N, C) as a list column."""
    count, width = values.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    flat = np.ascontiguousarray(values, np.float32).ravel()
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
