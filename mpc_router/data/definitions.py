"""Defines a task by its data: where a definition lists no labels, those of train are its labels.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mpc_router.data._rows import Stored
from mpc_router.data.columns import check_column
from mpc_router.data.sources import Source
from mpc_router.messages import quoted
from mpc_router.run_names import TRAIN
from mpc_router.source_error import SourceError
from mpc_router.tasks import Task
from mpc_router.tasks.definition import MOST_CLASSES, lists_labels, task_of
from mpc_router.tasks.labels import (
    NUMERIC,
    check_one_label,
    class_words,
    is_text,
    label_type,
    word_of,
)

__all__ = ["define"]

_REGRESSION: Final = "for values as labels write `kind: regression`"


def define(tree: object, source: Source) -> Task:
    """Reads `task_definition`; where it lists no labels, they are those of the source's train.

    The names of a ClassLabel are labels in their order; else the distinct labels are, sorted: as
    numbers where all of them are numbers, as texts otherwise.

    Raises:
        TaskError: it defines no task.
        SourceError: train cannot be read, or its labels are none of 2 to 1,000 classes.
    """
    if not isinstance(tree, Mapping) or lists_labels(tree):
        return task_of(tree)
    name, label = tree.get("name"), tree.get("label", "label")
    if not isinstance(name, str) or not isinstance(label, str) or "text" not in tree:
        return task_of(tree, ("0", "1"))  # refuses it
    return task_of(tree, _labels(source.rows(name, TRAIN, (), label), label))


def _labels(stored: Stored, label: str) -> tuple[str, ...]:
    """Gives label names for a column of labels."""
    where, schema = stored.schemas[0]
    check_column(schema, label, where, "task_definition names it as `label:`")
    kind = label_type(schema, label)
    check_one_label(kind, label, where)
    words = class_words(schema, label)
    if words is not None and not is_text(kind):
        return tuple(words)
    names = _distinct(stored, label)
    if not names:
        raise SourceError(f"{where} has no rows; give a split with examples")
    if len(names) == 1:
        raise SourceError(
            f"{where}: every label is {quoted(names[0])}, but a task has at least 2 labels; give "
            "rows of others, or name another column as `label:`"
        )
    if all(NUMERIC.fullmatch(name) for name in names):
        return tuple(sorted(names, key=float))
    _check_spelling(names, where)
    return tuple(sorted(names))


def _distinct(stored: Stored, label: str) -> list[str]:
    """Gives every label once, as text.

    Raises:
        SourceError: one is null or no class, or there are too many.
    """
    names: dict[str, None] = {}
    rows_by_place: dict[str, int] = {}
    for where, batch in stored.rows.batches([label]):
        start = rows_by_place.get(where, 0)
        rows_by_place[where] = start + len(batch)
        for value in _values(batch.column(0), label, start, where):
            names[value] = None
        if len(names) > MOST_CLASSES:
            raise SourceError(
                f"{where}: column {label!r} has more than {MOST_CLASSES:,} distinct labels "
                f"({', '.join(map(quoted, list(names)[:3]))}, ...), but a classification has 2 to "
                f"{MOST_CLASSES:,}; {_REGRESSION}, or name another column as `label:`"
            )
    return list(names)


def _values(column: Any, label: str, start: int, where: str) -> list[str]:
    """Gives the distinct labels of a batch as texts; `start` is the number of its first row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        row = start + column.is_null().to_pylist().index(True)
        raise SourceError(
            f"{where}: the label {label!r} of row {row} is null; give a label or drop the row"
        )
    kind = column.type
    if is_text(kind):
        values = [str(value).strip() for value in pc.unique(column).to_pylist()]
        texts = {value: value for value in values}
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        texts = {value: str(value).lower() for value in pc.unique(column).to_pylist()}
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = pc.unique(column.cast(pa.float64())).to_pylist()
        texts = {value: str(int(value)) if value.is_integer() else "" for value in values}
    else:
        raise SourceError(
            f"{where}: column {label!r} holds {kind}, but labels are texts, whole numbers or truth "
            f"values; {_REGRESSION}"
        )
    for value, text in texts.items():
        if not text:
            row = start + _row_of(column, value)
            raise SourceError(
                f"{where}: the label {label!r} of row {row} is {quoted(value)}, which is no class; "
                + (
                    "give a label or drop the row"
                    if is_text(kind)
                    else f"classes are whole numbers or texts, {_REGRESSION}"
                )
            )
    return list(texts.values())


def _row_of(column: Any, value: object) -> int:
    """Gives the first place of a value in a column that has it; of a text but for blanks."""
    for row, other in enumerate(column.to_pylist()):
        same = other.strip() if isinstance(other, str) else float(other)
        if same == value or (same != same and value != value):  # NaN is no NaN
            return row
    return 0


def _check_spelling(names: list[str], where: str) -> None:
    """Raises a SourceError where two labels are one but for case, blanks and hyphens."""
    by_word: dict[str, str] = {}
    for name in names:
        other = by_word.setdefault(word_of(name), name)
        if other != name:
            raise SourceError(
                f"{where} has the labels {quoted(other)} and {quoted(name)}, which are one but for "
                "case, blanks or hyphens; mend them, or, if they are two, list all labels as "
                "`labels:`"
            )
