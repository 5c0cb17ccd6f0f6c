"""Checks one source file's texts and labels, then reads them in batches as often as needed.

Texts never lie in memory as a whole: what stays there of N rows are numbers, a few bytes a row.
Letters: N rows.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from mpc_router.data._label_checks import check_are_scores, check_labels
from mpc_router.data._rows import Files, Rows, Stored, Table, parquet_rows, table_rows
from mpc_router.messages import shortened
from mpc_router.source_error import LONGEST_LIST, SourceError, listed
from mpc_router.tasks import Task
from mpc_router.tasks.labels import (
    check_label_type,
    class_words,
    counts_classes,
    is_text,
    label_values,
    word_of,
)

__all__ = [
    "Columns",
    "Files",
    "Rows",
    "SourceError",
    "Stored",
    "Table",
    "Texts",
    "check_column",
    "checked",
    "checked_rows",
    "parquet_rows",
    "read_parquet",
    "table_rows",
]

_SEPARATOR: Final = "\x1f"
"""Between the texts of a row when it is hashed: the ASCII unit separator."""


class Texts(Sequence[str]):
    """Holds some rows of a text column, read from where they lie each time they are used."""

    def __init__(self, rows: Rows, name: str, chosen: NDArray[np.int64]) -> None:
        self._rows = rows
        self._name = name
        self._chosen = chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __iter__(self) -> Iterator[str]:
        start = 0
        for _, batch in self._rows.batches([self._name]):
            column = _text(batch.column(0))
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
    """Holds the text columns and the labels of one source file, checked."""

    rows: Rows
    names: tuple[str, ...]
    """The text columns."""

    labels: NDArray[np.float64]
    """(N,) class number or value, in the task's range."""

    counted: bool = False
    """Whether labels are stored as class numbers, which do not say what they mean."""

    def __len__(self) -> int:
        return len(self.labels)

    def texts(self, chosen: NDArray[np.int64]) -> tuple[Texts, ...]:
        """Gives the texts of some rows, given in rising order, by column; they are not read yet."""
        return tuple(Texts(self.rows, name, chosen) for name in self.names)

    def fingerprint(self) -> str:
        """Gives hex digits of every text and label in order; of no file's name or encoding."""
        total = hashlib.blake2b(digest_size=16)
        for name in self.names:
            # the lengths of all texts come first: the column is gone through twice, kept not once
            for part in (0, 1):
                for _, batch in self.rows.batches([name]):
                    total.update(_raw(_text(batch.column(0)))[part])
        total.update(self.labels.tobytes())
        return total.hexdigest()

    def row_hashes(self) -> NDArray[np.uint64]:
        """Gives a number for each row's texts alone, spread evenly over 64 bits, (N,).

        Rows of equal texts have equal numbers, whatever their labels, places and files.
        """
        blake = hashlib.blake2b
        hashes = np.empty(len(self), np.uint64)
        start = 0
        for _, batch in self.rows.batches(self.names):
            columns = [_text(batch.column(name)).to_pylist() for name in self.names]
            rows = map(_SEPARATOR.join, zip(*columns, strict=True))
            raw = b"".join(blake(row.encode(), digest_size=8).digest() for row in rows)
            hashes[start : start + len(batch)] = np.frombuffer(raw, "<u8")
            start += len(batch)
        return hashes


def read_parquet(paths: Sequence[Path], task: Task) -> Columns:
    """Reads texts and labels of the rows of these files, in order; other columns are not read.

    Raises:
        SourceError: a file is missing, is no whole Parquet file, or holds what the task forbids.
    """
    return checked_rows(parquet_rows(paths), task)


def checked(table: Any, task: Task, where: str) -> Columns:
    """Gives the columns of a pyarrow table.

    Raises:
        SourceError: see `checked_rows`; `where` is named.
    """
    return checked_rows(table_rows(table, where), task)


def checked_rows(stored: Stored, task: Task) -> Columns:
    """Gives a task's columns of the rows of a split.

    Raises:
        SourceError: a column is missing or of another type, a value is null, a label is out of
            range, or there is no row.
    """
    for where, schema in stored.schemas:
        _check_schema(schema, task, where)
    where, schema = stored.schemas[0]
    return _checked(stored.rows, schema, task, where)


def _checked(rows: Rows, schema: Any, task: Task, where: str) -> Columns:
    """Looks at every row once; keeps only labels."""
    words = class_words(schema, task.label)
    labels_by_file: dict[str, list[tuple[NDArray[np.float64], NDArray[np.bool_]]]] = {}
    for place, batch in rows.batches([*task.columns, task.label]):
        seen = labels_by_file.setdefault(place, [])
        start = sum(len(values) for values, _ in seen)
        for name in task.columns:
            _check_texts(batch.column(name), name, start=start, where=place)
        seen.append(label_values(batch.column(task.label), task, words, start=start, where=place))
    if not labels_by_file:
        raise SourceError(f"{where} has no rows; give a split with examples")
    labels = []
    for place, seen in labels_by_file.items():
        values, nulls = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        check_labels(values, nulls, task, where=place)
        labels.append(values)
    together = np.concatenate(labels)
    check_are_scores(together, task, where)
    counted = not task.regression and counts_classes(schema, task)
    return Columns(rows=rows, names=task.columns, labels=together, counted=counted)


def _check_schema(schema: Any, task: Task, where: str) -> None:
    """Refuses columns that are missing, doubled, of a wrong type, or not of the task's labels."""
    import pyarrow as pa

    for name in (*task.columns, task.label):
        needed = ", ".join((*task.columns, task.label))
        check_column(schema, name, where, f"task {task.name} needs {needed}")
    for name in task.columns:
        column_type = schema.field(name).type
        if not is_text(
            column_type.value_type if pa.types.is_dictionary(column_type) else column_type
        ):
            kind = shortened(str(column_type), LONGEST_LIST)
            raise SourceError(f"{where}: column {name!r} holds {kind}, but must hold text")
    check_label_type(schema, task, where)


def check_column(schema: Any, name: str, where: str, need: str) -> None:
    """Raises a SourceError unless a pyarrow schema has a column once; `need` says why."""
    names = schema.names
    if name not in names:
        raise SourceError(
            f"{where} has no column {name!r} (it has {listed(names)}); {need}"
            f"{_nearest(name, names)}"
        )
    if list(names).count(name) > 1:
        raise SourceError(f"{where} has several columns {name!r}; keep one of them")


def _nearest(name: str, names: Sequence[str]) -> str:
    """Offers the columns whose names are like one that is missing."""
    by_word = {word_of(name): name for name in reversed(names)}
    alike = difflib.get_close_matches(word_of(name), by_word, n=3, cutoff=0.6)
    return f"; did you mean {listed([by_word[word] for word in alike])}?" if alike else ""


def _check_texts(column: Any, name: str, *, start: int, where: str) -> None:
    import pyarrow as pa

    try:
        strings = _text(column)
        strings.validate(full=True)  # decodes every text
    except pa.ArrowInvalid as error:
        raise SourceError(f"{where}: {name!r} holds bytes that are no UTF-8; mend them") from error
    if strings.null_count:
        row = start + strings.is_null().to_pylist().index(True)
        raise SourceError(f"{where}: {name!r} is null in row {row}; give a text or drop the row")


def _text(column: Any) -> Any:
    """Gives a column of text in one layout, whatever layout it was stored in."""
    import pyarrow as pa

    return column.cast(pa.large_string())


def _raw(column: Any) -> tuple[bytes, memoryview]:
    """Gives lengths and bytes of a large_string array, which may be a slice of a longer one."""
    _, places, data = column.buffers()
    offsets = np.frombuffer(places, np.int64)[column.offset : column.offset + len(column) + 1]
    raw = memoryview(data if data is not None else b"")
    return np.diff(offsets).tobytes(), raw[int(offsets[0]) : int(offsets[-1])]
