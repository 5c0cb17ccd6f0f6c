"""One source file's texts and labels, read from Parquet and checked.

Letters: N rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.tasks import Task

SEPARATOR: Final = "\x1f"
"""Between the texts of a row when it is hashed: the ASCII unit separator."""


class SourceError(ValueError):
    """Missing or bad data: what, where, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The text columns and the labels of one source file, sound."""

    texts: tuple[Any, ...]
    """A pyarrow large_string array of N texts for each text column; no nulls."""

    labels: NDArray[np.float64]
    """(N,) class number or value, in the task's range."""

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """Hex digits of every text and label in order; no file name, no encoding of the file."""
        total = hashlib.blake2b(digest_size=16)
        for column in self.texts:
            lengths, text = _raw(column)
            total.update(lengths.tobytes())
            total.update(text)
        total.update(self.labels.tobytes())
        return total.hexdigest()

    def row_hashes(self) -> NDArray[np.uint64]:
        """(N,) a number spread evenly over 64 bits, of each row's texts alone.

        Rows of equal texts have equal numbers, whatever their labels, places and files.
        """
        columns = [column.to_pylist() for column in self.texts]
        rows = map(SEPARATOR.join, zip(*columns, strict=True))
        blake = hashlib.blake2b
        raw = b"".join(blake(row.encode(), digest_size=8).digest() for row in rows)
        return np.frombuffer(raw, "<u8").astype(np.uint64)


def read_parquet(paths: Sequence[Path], task: Task) -> Columns:
    """Texts and labels of the rows of these files, one after the other; other columns are not read.

    Raises:
        SourceError: a file is missing, is no whole Parquet file, or holds what the task forbids.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for path in paths:
        if not path.is_file():
            raise SourceError(f"{path} does not exist; put the task's split there, or use --sample")
        try:
            file = pq.ParquetFile(path)
            _require_columns(file.schema_arrow.names, task, where=str(path))
            tables.append(file.read(columns=[*task.columns, "label"]))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(". ")
            raise SourceError(
                f"{path} is not a whole Parquet file ({reason}); copy or download it again"
            ) from error
    return checked(pa.concat_tables(tables, promote_options="permissive"), task, str(paths[0]))


def checked(table: Any, task: Task, where: str) -> Columns:
    """The columns of a pyarrow table in the hub's GLUE schema.

    Raises:
        SourceError: a column is missing or of another type, a value is null, a label is out of
            range, or there is no row; `where` is named.
    """
    _require_columns(table.schema.names, task, where=where)
    if table.num_rows == 0:
        raise SourceError(f"{where} has no rows; give a split with examples")
    texts = tuple(_texts(table, name, where) for name in task.columns)
    return Columns(texts=texts, labels=_labels(table, task, where))


def _require_columns(names: Sequence[str], task: Task, *, where: str) -> None:
    for name in (*task.columns, "label"):
        if name not in names:
            needed = ", ".join((*task.columns, "label"))
            raise SourceError(
                f"{where} has no column {name!r} (it has {', '.join(names)}); "
                f"task {task.name} needs {needed}"
            )
        if list(names).count(name) > 1:
            raise SourceError(f"{where} has several columns {name!r}; keep one of them")


def _one_array(table: Any, name: str) -> Any:
    import pyarrow as pa

    column = table.column(name).combine_chunks()
    return pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column


def _texts(table: Any, name: str, where: str) -> Any:
    import pyarrow as pa

    column = _one_array(table, name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise SourceError(f"{where}: column {name!r} holds {column.type}, but must hold text")
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise SourceError(f"{where}: {name!r} is null in row {row}; give a text or drop the row")
    try:
        column.validate(full=True)  # decodes every text
    except pa.ArrowInvalid as error:
        raise SourceError(f"{where}: {name!r} holds bytes that are no UTF-8; mend them") from error
    return column.cast(pa.large_string())


def _labels(table: Any, task: Task, where: str) -> NDArray[np.float64]:
    import pyarrow as pa

    column = _one_array(table, "label")
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise SourceError(f"{where}: column 'label' holds {column.type}, but must hold numbers")
    labels = np.asarray(
        column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64
    )
    least, most = task.label_range if task.regression else (0.0, len(task.label_names) - 1.0)
    bad = ~((labels >= least) & (labels <= most))
    if not task.regression:
        bad |= labels != np.floor(labels)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        found = "null" if column[row].as_py() is None else f"{labels[row]:g}"
        allowed = "a number in" if task.regression else "a class number in"
        hint = " (a test split has no labels)" if found == "-1" else ""
        count = f"{int(bad.sum())} of {len(labels)} rows are wrong"
        raise SourceError(
            f"{where}: the label of row {row} is {found}, but task {task.name} needs "
            f"{allowed} {least:g}..{most:g} ({count}); correct the file{hint}"
        )
    return labels


def _raw(column: Any) -> tuple[NDArray[np.int64], memoryview]:
    """Lengths and bytes of a large_string array, which may be a slice of a longer one."""
    _, places, data = column.buffers()
    offsets = np.frombuffer(places, np.int64)[column.offset : column.offset + len(column) + 1]
    raw = memoryview(data if data is not None else b"")
    return np.diff(offsets), raw[int(offsets[0]) : int(offsets[-1])]
