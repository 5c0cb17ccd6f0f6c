"""The module reads labels of files: numbers, truth values or the task's words.

Letters: N rows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.messages import quoted, shortened
from mpc_router.source_error import LONGEST_LIST, SourceError, listed
from mpc_router.tasks import TASKS, Task

_NUMBER: Final = re.compile(r"(?:(?:label|class|category|output|target)_?)?0*([0-9]+)(?:\.0*)?")


NUMERIC: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""It matches a text that is a finite number."""


def word_of(label: object) -> str:
    """Gives a label as it is compared: without case, with `-` and blanks as `_`."""
    return re.sub(r"[\s-]+", "_", str(label).strip().lower())


def number_of(label: object) -> int | None:
    """Gives the number that a label is (`1`, `LABEL_1`, `class 1`, `1.0`); None for other words."""
    match = _NUMBER.fullmatch(word_of(label))
    return None if match is None else int(match[1])


def is_glue(task: Task) -> bool:
    """Tells whether a task is one of GLUE's, whose files must have the hub's form."""
    return task == TASKS.get(task.name)


def classes_of(task: Task) -> str:
    """Describes a task's labels, for messages."""
    if task.regression:
        low, high = task.bounds
        return "a number" if math.isinf(low) else f"a number in {low:g}..{high:g}"
    return shortened(
        ", ".join(f"{number} {word}" for number, word in enumerate(task.label_names)), LONGEST_LIST
    )


def check_label_type(schema: Any, task: Task, where: str) -> None:
    """Checks that a file's labels can be the task's, by type and by the hub's names for them.

    Raises:
        SourceError: they cannot.
    """
    import pyarrow as pa

    kind = label_type(schema, task.label)
    check_one_label(kind, task.label, where)
    is_words = is_text(kind) and not (task.regression and is_glue(task))
    if not (
        is_words
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or (pa.types.is_boolean(kind) and task.outputs == 2)
    ):
        column_type = schema.field(task.label).type
        raise SourceError(
            f"{where}: column {task.label!r} holds {shortened(str(column_type), LONGEST_LIST)}, "
            f"but must hold numbers: {classes_of(task)}"
        )
    words = class_words(schema, task.label)
    if words is None or is_words or not is_glue(task):
        return
    if [word_of(word) for word in words] != list(task.label_names):
        raise SourceError(
            f"{where} names its labels {listed(words)} in this order, but task {task.name} needs "
            f"{classes_of(task)}; number the labels so, or give the task's own file"
        )


def label_type(schema: Any, name: str) -> Any:
    """Gives the pyarrow type of a schema's labels, also where each is stored once (dictionary)."""
    import pyarrow as pa

    column_type = schema.field(name).type
    return column_type.value_type if pa.types.is_dictionary(column_type) else column_type


def check_one_label(kind: Any, name: str, where: str) -> None:
    """Checks that a row has one label.

    Raises:
        SourceError: it has several.
    """
    import pyarrow as pa

    if pa.types.is_nested(kind):
        raise SourceError(
            f"{where}: column {name!r} holds {shortened(str(kind), LONGEST_LIST)}, several labels "
            "a row, but a task has one label a row; make a task of each label, or keep one of them"
        )


def is_text(kind: Any) -> bool:
    """Tells whether a pyarrow type is one of text, in any of its layouts."""
    import pyarrow as pa

    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in checks)


def class_words(schema: Any, name: str) -> list[str] | None:
    """Gives the words for a column's labels in the hub's metadata of a pyarrow schema.

    None without any, or where each word is its own number.
    """
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        words = metadata["info"]["features"][name]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if not isinstance(words, list) or not words:
        return None
    texts = [str(word) for word in words]
    return None if [number_of(text) for text in texts] == list(range(len(texts))) else texts


def label_values(
    column: Any, task: Task, words: Sequence[str] | None, *, start: int, where: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Gives labels (N,) as numbers, and where they are null; `start` numbers the first row.

    `words` are what the file's own metadata have for its numbers.

    Raises:
        SourceError: a label is a word that the task does not have.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False), np.bool_)
    if is_text(column.type):
        coded = _decoded(column, task, where)
        return _numbered(coded, nulls, task, column.type, start=start, where=where), nulls
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    values = np.asarray(values, np.float64)
    by_value = None if task.regression or is_glue(task) else _by_value(column.type, task, words)
    if by_value is None:
        return values, nulls
    task_values = np.array(sorted(by_value) or [np.nan], np.float64)
    places = np.searchsorted(task_values, values).clip(max=len(task_values) - 1)
    strange = (task_values[places] != values) & ~nulls
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        number = f"{values[row]:.17g}"
        label = dict(zip(map(str, range(len(words))), words, strict=True)) if words else {}
        raise _unknown_label(label.get(number, number), start + row, task, where)
    numbers_by_place = np.array([by_value.get(value, np.nan) for value in task_values], np.float64)
    return np.where(nulls, np.nan, numbers_by_place[places]), nulls


def counts_classes(schema: Any, task: Task) -> bool:
    """Whether a file's labels are class numbers, which say nothing of what they mean."""
    kind = label_type(schema, task.label)
    words = class_words(schema, task.label)
    return not is_text(kind) and _by_value(kind, task, words) is None


def _by_value(kind: Any, task: Task, words: Sequence[str] | None) -> dict[float, float] | None:
    """Gives the class number of each value in a column of numbers or truth values.

    None where the values are class numbers themselves.
    """
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        names = [word_of(name) for name in task.label_names]
        if sorted(names) != ["false", "true"]:
            return None
        return {0.0: float(names.index("false")), 1.0: float(names.index("true"))}
    if words is not None:
        find = _finder(task)
        numbers = {float(value): find(word) for value, word in enumerate(words)}
        return {value: number for value, number in numbers.items() if number is not None}
    texts = [name.strip() for name in task.label_names]
    if not all(NUMERIC.fullmatch(text) for text in texts):
        return None
    by_value = {float(text): float(number) for number, text in enumerate(texts)}
    return by_value if len(by_value) == len(texts) else None


def _unknown_label(label: object, row: int, task: Task, where: str) -> SourceError:
    """Makes the error about a label that the user's own task does not have."""
    if task.regression:
        return SourceError(
            f"{where}: the label of row {row} is {quoted(label)}, but task {task.name} needs "
            f"{classes_of(task)}; correct it, or drop the row"
        )
    return SourceError(
        f"{where}: the label of row {row} is {quoted(label)}, but task {task.name} has the labels "
        f"{listed(list(task.label_names), most=20)}; correct it, or name it in `labels:` (a "
        "definition without `labels:` has those of train)"
    )


def _finder(task: Task) -> Callable[[str], float | None]:
    """Makes the function that gives a word's label number.

    Without an equal label, the only one that differs in case, blanks and hyphens counts.
    """
    exact = {name: float(number) for number, name in enumerate(task.label_names)}
    alike: dict[str, list[float]] = {}
    for name, number in exact.items():
        alike.setdefault(word_of(name), []).append(number)
    loose = {word: numbers[0] for word, numbers in alike.items() if len(numbers) == 1}

    def find(word: str) -> float | None:
        return exact.get(word, loose.get(word_of(word)))

    return find


def _decoded(column: Any, task: Task, where: str) -> Any:
    """Decodes a column of text into a dictionary, which has each text once."""
    import pyarrow as pa

    try:
        texts = column.cast(pa.large_string())
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{where}: {task.label!r} holds bytes that are no UTF-8; mend them"
        ) from error
    return texts.dictionary_encode()


def _numbered(
    coded: Any, nulls: NDArray[np.bool_], task: Task, kind: Any, *, start: int, where: str
) -> NDArray[np.float64]:
    """Gives the numbers of labels that are texts, NaN where there is none."""
    find = _value_of if task.regression else _finder(task)
    values = [find(text) for text in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    if None in values:
        unknown = values.index(None)
        row = start + int(np.flatnonzero((codes == unknown) & ~nulls)[0])
        label = coded.dictionary[unknown].as_py()
        if not is_glue(task):
            raise _unknown_label(label, row, task, where)
        allowed = classes_of(task) + ("" if task.regression else " (or these words)")
        raise SourceError(
            f"{where}: column {task.label!r} holds {kind}, {quoted(label)} in row {row}, but must "
            f"hold numbers: {allowed}"
        )
    table = np.array([*values, np.nan], np.float64)
    return np.asarray(table[np.where(nulls, len(values), codes)], np.float64)


def _value_of(text: str) -> float | None:
    """Gives the number that a text is; None where it is none."""
    return float(text) if NUMERIC.fullmatch(text.strip()) else None
