"""Makes, writes and reads a run's bulk files, `parts/`, which the journal names with their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mpc_router.messages import quoted
from mpc_router.routes import Paths
from mpc_router.run_names import table_file
from mpc_router.storage.files import atomic, make_folder

EXPERTS: Final = table_file("experts")
EXAMPLES: Final = table_file("examples")


class Labelled(Protocol):
    """Holds a split with its labels; N examples."""

    @property
    def split(self) -> str:
        """Names the split."""

    @property
    def labels(self) -> NDArray[np.float64]:
        """Gives the labels, (N,)."""

    @property
    def example(self) -> NDArray[np.int64]:
        """Gives the row numbers in the source file, (N,)."""

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Gives the lengths in tokens, (N,)."""

    @property
    def tokens_by_expert(self) -> NDArray[np.int64] | None:
        """(N, K) lengths to each expert, where their tokenizers differ."""


class Outputs(Labelled, Protocol):
    """Holds a split also with the outputs of K experts, C outputs each."""

    @property
    def outputs(self) -> NDArray[np.float32]:
        """Gives the experts' outputs, (N, K, C)."""


def write(path: Path, tables: Iterable[pa.Table]) -> str:
    """Writes one Parquet file atomically, compressed with zstd; gives its sha256.

    Raises:
        FileNotFoundError: the run's folder was renamed or removed.
    """
    make_folder(path.parent)
    with atomic(path) as temporary:
        with temporary.open("wb") as file:  # where the disk is full, the writer leaves its own open
            pq.write_table(pa.concat_tables(list(tables)), file, compression="zstd")
        sha256 = digest(temporary)
    return sha256


def digest(path: Path) -> str:
    """Gives a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, kind: pa.Schema) -> pa.Table:
    """Reads a bulk file as a table of this kind; a column that may be empty may also be missing.

    Raises:
        ValueError: it is no Parquet file, or holds other columns or values.
    """
    try:
        held = pq.read_schema(path).names
        kind = pa.schema([field for field in kind if field.name in held or not field.nullable])
        table = pq.read_table(path, columns=kind.names)
        return table.select(kind.names).cast(kind)
    except (pa.ArrowException, ValueError, OSError, KeyError) as error:
        raise ValueError(
            f"{path} is no bulk file with the columns {', '.join(kind.names)} ({quoted(error)})"
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
    """Makes the table of one trial's routes on one split.

    Args:
        key: the trial's.
        split: its name.
        example: (N,) row numbers in the source file.
        routes: (N,) the chosen experts, or numbers of paths.
        logits: (N, M) of the router, in a gate one for each of the K experts.
    """
    return pa.table(
        {
            "key": _repeated(key, len(example)),
            "split": _repeated(split, len(example)),
            "example": example,
            "route": routes.astype(np.uint8),
            "logits": _lists(logits),
        }
    )


def paths(paths: Paths) -> pa.Table:
    """Makes the table of the P paths of a router, and of how each answers."""
    count = len(paths.decisions.paths)
    experts = [list(path) for path in paths.decisions.paths]
    return pa.table(
        {
            "paths_id": _repeated(paths.name, count),
            "path": np.arange(count, dtype=np.uint8),
            "experts": pa.array(experts, pa.list_(pa.uint8())),
            "combine": _repeated(paths.combine, count),
            "weights": _lists(paths.weights, np.float64),
            "offset": _lists(paths.offset, np.float64),
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
    outputs = np.asarray(split.outputs, np.float64)
    labels = np.asarray(split.labels, np.float64)
    predictions, losses, right = _judged(outputs, labels, regression=regression)
    for expert in range(outputs.shape[1]):
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

    A classifier is right if it predicts the label's class, and its loss is the cross-entropy. In a
    regression the expert with the least absolute error of the pool is right, and the loss is the
    squared error.
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
    """Makes a list column of the rows of values, (N, C)."""
    count, width = values.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    flat = np.ascontiguousarray(values, kind).ravel()
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))
