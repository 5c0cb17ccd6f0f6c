"""Bulk files of a run, `parts/`: written by workers, named with their hash in the journal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mpc_router.files import atomic, make_folder
from mpc_router.messages import quoted

EXPERTS: Final = "experts.parquet"
EXAMPLES: Final = "examples.parquet"


class Labelled(Protocol):
    """Holds a split with its labels; N examples."""

    @property
    def split(self) -> str:
        """Its name."""

    @property
    def labels(self) -> NDArray[np.float64]:
        """(N,)"""

    @property
    def example(self) -> NDArray[np.int64]:
        """(N,) row numbers in the source file."""

    @property
    def tokens(self) -> NDArray[np.int64]:
        """(N,) lengths."""

    @property
    def tokens_by_expert(self) -> NDArray[np.int64] | None:
        """(N, K) lengths to each expert, where their tokenizers differ."""


class Outputs(Labelled, Protocol):
    """Holds a split with the outputs of K experts too, C outputs each."""

    @property
    def outputs(self) -> NDArray[np.float32]:
        """(N, K, C)"""


def write(path: Path, tables: Iterable[pa.Table]) -> str:
    """Writes one Parquet file, whole or not at all; gives its sha256. Zstd.

    Raises:
        FileNotFoundError: the run's folder was renamed or removed; it is not made anew.
    """
    make_folder(path.parent)
    with atomic(path) as temporary:
        pq.write_table(pa.concat_tables(list(tables)), temporary, compression="zstd")
        sha256 = digest(temporary)
    return sha256


def digest(path: Path) -> str:
    """Gives a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, kind: pa.Schema) -> pa.Table:
    """Reads a bulk file as a table of this kind; a column that may be empty may also be missing.

    Raises:
        ValueError: it is no Parquet file, or holds other columns or values; in a sentence.
    """
    try:
        held = pq.read_schema(path).names
        kind = pa.schema([field for field in kind if field.name in held or not field.nullable])
        found = pq.read_table(path, columns=kind.names)
        return found.select(kind.names).cast(kind)
    except (pa.ArrowException, ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"{path} holds no {', '.join(kind.names)} as a run's bulk file does ({quoted(error)})"
        ) from error


def routes_of(path: Path, key: str) -> pa.Table:
    """Gives the rows of one trial in a pack's file, as `routing` made them."""
    return pq.read_table(path, filters=[("key", "=", key)])


def routing(
    key: str,
    split: str,
    *,
    example: NDArray[np.int64],
    routes: NDArray[np.uint8],
    logits: NDArray[np.float32],
) -> pa.Table:
    """Makes the table of one trial's routes on one split. Shapes (N,), (N,), (N, K)."""
    return pa.table(
        {
            "key": _repeated(key, len(example)),
            "split": _repeated(split, len(example)),
            "example": example,
            "route": routes.astype(np.uint8),
            "logits": _lists(logits),
        }
    )


def examples(split: Labelled) -> pa.Table:
    """Makes the table of a split's labels and lengths."""
    table = pa.table(
        {
            "split": _repeated(split.split, len(split.labels)),
            "example": np.asarray(split.example),
            "label": np.asarray(split.labels, np.float64),
            "tokens": np.asarray(split.tokens),
        }
    )
    if split.tokens_by_expert is None:
        return table
    return table.append_column("tokens_by_expert", _lists(split.tokens_by_expert, np.int64))


def experts(experts_id: str, split: Outputs, *, regression: bool) -> Iterator[pa.Table]:
    """Makes the table of each expert's outputs on a split's examples."""
    said = np.asarray(split.outputs, np.float64)
    labels = np.asarray(split.labels, np.float64)
    predictions, losses, right = _judged(said, labels, regression=regression)
    for expert in range(said.shape[1]):
        yield pa.table(
            {
                "experts_id": _repeated(experts_id, len(labels)),
                "expert": np.full(len(labels), expert, np.uint8),
                "split": _repeated(split.split, len(labels)),
                "example": np.asarray(split.example),
                "prediction": predictions[:, expert],
                "output": _lists(np.asarray(split.outputs[:, expert])),
                "loss": losses[:, expert],
                "right": right[:, expert],
            }
        )


def _judged(
    outputs: NDArray[np.float64], labels: NDArray[np.float64], *, regression: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Gives predictions, losses and hits, each (N, K), of outputs (N, K, C) and labels (N,).

    Cross-entropy and the label's class; for a regression the squared error, and right is whoever
    has the least absolute error of the pool.
    """
    if regression:
        predictions = outputs[:, :, 0]
        errors = np.abs(predictions - labels[:, None])
        return predictions, errors**2, errors == errors.min(axis=1, keepdims=True)
    predictions = outputs.argmax(axis=2).astype(np.float64)
    top = outputs.max(axis=2)
    normaliser = top + np.log(np.exp(outputs - top[:, :, None]).sum(axis=2))
    chosen = np.take_along_axis(outputs, labels.astype(np.int64)[:, None, None], axis=2)[:, :, 0]
    return predictions, normaliser - chosen, predictions == labels[:, None]


def _repeated(text: str, count: int) -> pa.Array:
    """Makes a column that repeats one value."""
    return pa.repeat(pa.scalar(text, pa.string()), count)


def _lists(values: NDArray[np.generic], kind: type[np.generic] = np.float32) -> pa.Array:
    """Makes a list column of the rows of (N, C)."""
    count, width = values.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    flat = np.ascontiguousarray(values, kind).ravel()
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
