"""The module reads labels of files: numbers, truth values or the task's words.

Letters: N rows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.messages import quoted, shortened
from mpc_router.source_error import LONGEST_LIST, SourceError, listed
from mpc_router.tasks import Task

_FEW_VALUES: Final = 20
"""It is how many rows of 0 or 1 make a regression's labels the classes of another task."""

_NUMBER: Final = re.compile(r"(?:(?:label|class|category|output|target)_?)?0*([0-9]+)(?:\.0*)?")


def word_of(label: object) -> str:
    """Gives a label as it is compared: without case, with `-` and blanks as `_`."""
    return re.sub(r"[\s-]+", "_", str(label).strip().lower())


def number_of(label: object) -> int | None:
    """Gives the number that a label is (`1`, `LABEL_1`, `class 1`, `1.0`); None for other words."""
    match = _NUMBER.fullmatch(word_of(label))
    return None if match is None else int(match[1])


def _classes_of(task: Task) -> str:
    """Describes a task's labels, for messages."""
    if task.regression:
        low, high = task.bounds
        return "a number" if math.isinf(low) else f"a number in {low:g}..{high:g}"
    return ", ".join(f"{number} {word}" for number, word in enumerate(task.label_names))


def check_label_type(schema: Any, task: Task, where: str) -> None:
    """Checks that a file's labels can be the task's, by type and by the hub's names for them.

    Raises:
        SourceError: they cannot.
    """
    import pyarrow as pa

    column_type = schema.field("label").type
    kind = column_type.value_type if pa.types.is_dictionary(column_type) else column_type
    is_words = is_text(kind) and not task.regression
    if not (
        is_words
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or (pa.types.is_boolean(kind) and task.outputs == 2)
    ):
        raise SourceError(
            f"{where}: column 'label' holds {shortened(str(column_type), LONGEST_LIST)}, but must "
            f"hold numbers: {_classes_of(task)}"
        )
    words = _label_names(schema)
    if words is None or is_words or _are_numbers(words):
        return
    if [word_of(word) for word in words] != list(task.label_names):
        raise SourceError(
            f"{where} names its labels {listed(words)} in this order, but task {task.name} needs "
            f"{_classes_of(task)}; number the labels so, or give the task's own file"
        )


def is_text(kind: Any) -> bool:
    """Tells whether a pyarrow type is one of text, in any of its layouts."""
    import pyarrow as pa

    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in checks)


def _label_names(schema: Any) -> list[str] | None:
    """Gives the names of labels in the hub's metadata of a pyarrow schema; None without any."""
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        words = metadata["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return [str(word) for word in words] if isinstance(words, list) and words else None


def label_values(
    column: Any, task: Task, *, start: int, where: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Gives labels (N,) as numbers, and where they are null; `start` numbers the first row.

    Raises:
        SourceError: a label is a word that the task does not have.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)
    if is_text(column.type):
        return _numbered(column, nulls, task, start=start, where=where), nulls
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64), nulls


def check_labels(
    labels: NDArray[np.float64], nulls: NDArray[np.bool_], task: Task, *, where: str
) -> None:
    """Checks that the labels (N,) of one file are in the task's range.

    Raises:
        SourceError: one is not.
    """
    least, most = task.bounds
    bad = ~((labels >= least) & (labels <= most) & np.isfinite(labels))
    if not task.regression:
        bad |= labels != np.floor(labels)
    if not bad.any():
        return
    row = int(np.flatnonzero(bad)[0])
    label = "null" if nulls[row] else f"{labels[row]:g}"
    allowed = _classes_of(task)
    if not task.regression:
        allowed = f"a class number in {least:g}..{most:g} ({allowed})"
    hint = " (a test split has no labels)" if label == "-1" else ""
    raise SourceError(
        f"{where}: the label of row {row} is {label}, but task {task.name} needs {allowed}; "
        f"{int(bad.sum())} of {len(labels)} rows are wrong, correct the file{hint}"
    )


def check_are_scores(labels: NDArray[np.float64], task: Task, where: str) -> None:
    """Checks that a regression's labels (N,) are values, not another task's classes.

    Raises:
        SourceError: they are classes.
    """
    if task.regression and len(labels) >= _FEW_VALUES and np.isin(labels, (0.0, 1.0)).all():
        raise SourceError(
            f"{where}: every label is 0 or 1, but task {task.name} needs "
            f"{_classes_of(task)}; these are another task's classes, give the task's own file"
        )


def _are_numbers(words: Sequence[str]) -> bool:
    """Tells whether each label's name is its own number."""
    return [number_of(word) for word in words] == list(range(len(words)))


def _numbered(
    column: Any, nulls: NDArray[np.bool_], task: Task, *, start: int, where: str
) -> NDArray[np.float64]:
    """Gives the numbers of labels that are words, NaN where there is none."""
    import pyarrow as pa

    kind = column.type
    try:
        texts = column.cast(pa.large_string())
        texts.validate(full=True)  # decodes every text
    except pa.ArrowInvalid as error:
        raise SourceError(f"{where}: 'label' holds bytes that are no UTF-8; mend them") from error
    coded = texts.dictionary_encode()
    numbers = {word: float(number) for number, word in enumerate(task.label_names)}
    values = [numbers.get(word_of(word)) for word in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    if None in values:
        unknown = values.index(None)
        row = start + int(np.flatnonzero((codes == unknown) & ~nulls)[0])
        raise SourceError(
            f"{where}: column 'label' holds {kind}, {quoted(coded.dictionary[unknown].as_py())} in "
            f"row {row}, but must hold numbers: {_classes_of(task)} (or these words)"
        )
    table = np.array([*values, np.nan], np.float64)
    return np.asarray(table[np.where(nulls, len(values), codes)], np.float64)
