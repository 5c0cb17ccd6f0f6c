"""One source file's texts and labels, checked and then read in batches as often as they are needed.

Texts never lie in memory as a whole: what stays there of N rows are numbers, a few bytes a row.
Letters: N rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from mpc_router.tasks import Task

SEPARATOR: Final = "\x1f"
"""Between the texts of a row when it is hashed: the ASCII unit separator."""

BATCH: Final = 4096
"""Rows read at a time."""

FEW_VALUES: Final = 20
"""Rows from which on a regression's labels that are all 0 or 1 are classes of another task."""


class SourceError(ValueError):
    """Missing or bad data: what, where, and what to do."""


class Rows(Protocol):
    """Rows that can be gone through again and again."""

    def batches(self, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """These columns' rows in order: (where they come from, pyarrow RecordBatch)."""


@dataclass(frozen=True)
class Table:
    """Rows of a pyarrow table in memory."""

    table: Any
    where: str

    def batches(self, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """See `Rows`."""
        for batch in self.table.select(list(names)).to_batches(max_chunksize=BATCH):
            if len(batch):
                yield self.where, batch


@dataclass(frozen=True)
class Files:
    """Rows of Parquet files, one after the other."""

    paths: tuple[Path, ...]

    def batches(self, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """See `Rows`; other columns are not read, and a file is never held as a whole."""
        import pyarrow as pa

        for path in self.paths:
            with _whole(path), _open(path) as file:
                for batch in file.iter_batches(BATCH, columns=list(names), use_threads=False):
                    if len(batch):
                        yield str(path), batch
        pa.default_memory_pool().release_unused()


class Texts(Sequence[str]):
    """Some rows of one text column, read from where they lie each time they are gone through."""

    def __init__(self, rows: Rows, name: str, chosen: NDArray[np.int64]) -> None:
        self._rows = rows
        self._name = name
        self._chosen = chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[str]:
        start = 0
        for _, batch in self._rows.batches([self._name]):
            column = batch.column(0)
            first, last = np.searchsorted(self._chosen, [start, start + len(column)])
            if first < last:
                yield from column.take(self._chosen[first:last] - start).to_pylist()
            start += len(column)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            if index.step not in (None, 1):
                raise ValueError(f"texts are read in their order, a step of {index.step} is none")
            return Texts(self._rows, self._name, self._chosen[index])
        one = self._chosen[index]
        return next(iter(Texts(self._rows, self._name, np.array([one], np.int64))))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as a list


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The text columns and the labels of one source file, sound."""

    rows: Rows
    names: tuple[str, ...]
    """The text columns."""

    labels: NDArray[np.float64]
    """(N,) class number or value, in the task's range."""

    def __len__(self) -> int:
        return len(self.labels)

    def texts(self, chosen: NDArray[np.int64]) -> tuple[Texts, ...]:
        """The texts of some rows, given in rising order, by column; they are not read yet."""
        return tuple(Texts(self.rows, name, chosen) for name in self.names)

    def fingerprint(self) -> str:
        """Hex digits of every text and label in order; no file name, no encoding of the file."""
        total = hashlib.blake2b(digest_size=16)
        for name in self.names:
            # the lengths of all texts come first: the column is gone through twice, kept not once
            for part in (0, 1):
                for _, batch in self.rows.batches([name]):
                    total.update(_raw(_large(batch.column(0)))[part])
        total.update(self.labels.tobytes())
        return total.hexdigest()

    def row_hashes(self) -> NDArray[np.uint64]:
        """(N,) a number spread evenly over 64 bits, of each row's texts alone.

        Rows of equal texts have equal numbers, whatever their labels, places and files.
        """
        blake = hashlib.blake2b
        hashes = np.empty(len(self), np.uint64)
        start = 0
        for _, batch in self.rows.batches(self.names):
            columns = [batch.column(name).to_pylist() for name in self.names]
            rows = map(SEPARATOR.join, zip(*columns, strict=True))
            raw = b"".join(blake(row.encode(), digest_size=8).digest() for row in rows)
            hashes[start : start + len(batch)] = np.frombuffer(raw, "<u8")
            start += len(batch)
        return hashes


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What reading a file inside fails with, said in one sentence."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise SourceError(
            f"{path} is not a whole Parquet file ({reason}); copy or download it again"
        ) from error


def _open(path: Path) -> Any:
    import pyarrow.parquet as pq

    # in pieces, else a row group's bytes are held as a whole
    return pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)


def read_parquet(paths: Sequence[Path], task: Task) -> Columns:
    """Texts and labels of the rows of these files, one after the other; other columns are not read.

    Raises:
        SourceError: a file is missing, is no whole Parquet file, or holds what the task forbids.
    """
    for path in paths:
        if not path.is_file():
            raise SourceError(f"{path} does not exist; put the task's split there, or use --sample")
        with _whole(path), _open(path) as file:
            _check_schema(file.schema_arrow, task, str(path))
    return _checked(Files(tuple(paths)), task, str(paths[0]))


def checked(table: Any, task: Task, where: str) -> Columns:
    """The columns of a pyarrow table in the hub's GLUE schema.

    Raises:
        SourceError: a column is missing or of another type, a value is null, a label is out of
            range, or there is no row; `where` is named.
    """
    _check_schema(table.schema, task, where)
    return _checked(Table(table, where), task, where)


def _checked(rows: Rows, task: Task, where: str) -> Columns:
    """Every row looked at once; only labels are kept."""
    found: dict[str, list[tuple[NDArray[np.float64], NDArray[np.bool_]]]] = {}
    for place, batch in rows.batches([*task.columns, "label"]):
        seen = found.setdefault(place, [])
        start = sum(len(values) for values, _ in seen)
        for name in task.columns:
            _check_texts(batch.column(name), name, start=start, where=place)
        seen.append(_values(batch.column("label")))
    if not found:
        raise SourceError(f"{where} has no rows; give a split with examples")
    labels = []
    for place, seen in found.items():
        values, nulls = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        _check_labels(values, nulls, task, where=place)
        labels.append(values)
    return Columns(
        rows=rows, names=task.columns, labels=_scores(np.concatenate(labels), task, where)
    )


def _scores(found: NDArray[np.float64], task: Task, where: str) -> NDArray[np.float64]:
    """The labels, which are no classes where the task has values."""
    if task.regression and len(found) >= FEW_VALUES and np.isin(found, (0.0, 1.0)).all():
        raise SourceError(
            f"{where}: every label is 0 or 1, but task {task.name} needs "
            f"{_classes(task)}; these are another task's classes, give the task's own file"
        )
    return found


def _check_schema(schema: Any, task: Task, where: str) -> None:
    """Each column is there once, and of a type that can be; named labels are the task's."""
    import pyarrow as pa

    names = schema.names
    for name in (*task.columns, "label"):
        if name not in names:
            needed = ", ".join((*task.columns, "label"))
            raise SourceError(
                f"{where} has no column {name!r} (it has {', '.join(names)}); "
                f"task {task.name} needs {needed}"
            )
        if list(names).count(name) > 1:
            raise SourceError(f"{where} has several columns {name!r}; keep one of them")
    for name in task.columns:
        given = schema.field(name).type
        kind = given.value_type if pa.types.is_dictionary(given) else given
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise SourceError(f"{where}: column {name!r} holds {given}, but must hold text")
    kind = schema.field("label").type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise SourceError(
            f"{where}: column 'label' holds {kind}, but must hold numbers: {_classes(task)}"
        )
    _check_label_names(schema, task, where)


def _check_label_names(schema: Any, task: Task, where: str) -> None:
    """What the hub's own metadata call the labels, where a file has any, is what the task does."""
    words = label_names(schema)
    if words is None or [_word(word) for word in words] == list(task.label_names):
        return
    raise SourceError(
        f"{where} names its labels {', '.join(words)} in this order, but task {task.name} needs "
        f"{_classes(task)}; number the labels so, or give the task's own file"
    )


def label_names(schema: Any) -> list[str] | None:
    """The words that the hub's metadata in a pyarrow schema give for labels; None without any."""
    try:
        stated = json.loads((schema.metadata or {})[b"huggingface"])
        words = stated["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(word) for word in words] if isinstance(words, list) and words else None


def _word(label: str) -> str:
    return label.strip().lower().replace("-", "_").replace(" ", "_")


def _classes(task: Task) -> str:
    """What a task's labels are, for messages."""
    if task.regression:
        return f"a number in {task.label_range[0]:g}..{task.label_range[1]:g}"
    return ", ".join(f"{number} {word}" for number, word in enumerate(task.label_names))


def _check_texts(column: Any, name: str, *, start: int, where: str) -> None:
    import pyarrow as pa

    if column.null_count:
        row = start + column.is_null().to_pylist().index(True)
        raise SourceError(f"{where}: {name!r} is null in row {row}; give a text or drop the row")
    try:
        column.validate(full=True)  # decodes every text
    except pa.ArrowInvalid as error:
        raise SourceError(f"{where}: {name!r} holds bytes that are no UTF-8; mend them") from error


def _values(column: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Labels as numbers, and where they are null."""
    import pyarrow as pa

    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    nulls = column.is_null().to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64), np.asarray(nulls, np.bool_)


def _check_labels(
    labels: NDArray[np.float64], nulls: NDArray[np.bool_], task: Task, *, where: str
) -> None:
    least, most = task.label_range if task.regression else (0.0, len(task.label_names) - 1.0)
    bad = ~((labels >= least) & (labels <= most))
    if not task.regression:
        bad |= labels != np.floor(labels)
    if not bad.any():
        return
    row = int(np.flatnonzero(bad)[0])
    found = "null" if nulls[row] else f"{labels[row]:g}"
    allowed = _classes(task)
    if not task.regression:
        allowed = f"a class number in {least:g}..{most:g} ({allowed})"
    hint = " (a test split has no labels)" if found == "-1" else ""
    raise SourceError(
        f"{where}: the label of row {row} is {found}, but task {task.name} needs {allowed}; "
        f"{int(bad.sum())} of {len(labels)} rows are wrong, correct the file{hint}"
    )


def _large(column: Any) -> Any:
    import pyarrow as pa

    return column.cast(pa.large_string())


def _raw(column: Any) -> tuple[bytes, memoryview]:
    """Lengths and bytes of a large_string array, which may be a slice of a longer one."""
    _, places, data = column.buffers()
    offsets = np.frombuffer(places, np.int64)[column.offset : column.offset + len(column) + 1]
    raw = memoryview(data if data is not None else b"")
    return np.diff(offsets).tobytes(), raw[int(offsets[0]) : int(offsets[-1])]
