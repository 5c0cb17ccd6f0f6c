"""Chooses which columns of a data set are texts and which is the label, by names and values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.commands._exits import InputError
from mpc_router.data.sources import Source, SourceError
from mpc_router.messages import printable, quoted, shortened
from mpc_router.run_names import TRAIN
from mpc_router.source_error import shown as shown_path
from mpc_router.tasks.definition import MOST_CLASSES
from mpc_router.tasks.labels import class_words, is_text, label_type, word_of

_NO_COLUMN: Final = "\0"
"""A name that no column has: the reader answers with those that are there."""

_LABEL_WORDS: Final = (
    *("label", "labels", "queue", "category", "class", "target", "y", "intent", "topic"),
    *("sentiment", "rating", "score", "stars"),
)
"""What a label's column may be called, the surest first."""

_NO_LABEL_WORDS: Final = {"id", "idx", "index", "row", "example", "split", "date", "time"}

_FEW: Final = 100
"""Distinct values that a column without a label's name may have to be one."""

_FEW_NUMBERS: Final = 20
"""Distinct whole numbers that are classes though they do not count from 0 or 1."""

_ROWS_A_VALUE: Final = 5
"""Rows that a value has on average in a column of few values."""

_PAIRS: Final = (
    ("premise", "hypothesis"),
    ("question", "answer"),
    ("question", "sentence"),
    ("query", "passage"),
    ("query", "document"),
    ("context", "question"),
)
"""Names of columns that are read as a pair; those that differ in 1, 2 or a, b alone are too."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Says what a column holds."""

    name: str
    kind: str
    """`text`, `whole` or `other` numbers, `truth` values, or `none` of these."""

    rows: int
    distinct: int
    """Different values; counting ends above `MOST_CLASSES`."""

    length: float = 0.0
    """Mean length of a text in characters."""

    least: float = 0.0
    most: float = 0.0
    """The range of numbers."""

    named_classes: bool = False
    """Whether its numbers are classes with names (a ClassLabel)."""

    @property
    def few(self) -> bool:
        """Says whether it has few enough values to be a label without a label's name."""
        words = set(re.split(r"[^a-z]+", self.name.lower()))
        return (
            self.kind != "none"
            and 2 <= self.distinct <= min(_FEW, max(2, self.rows // _ROWS_A_VALUE))
            and not words & _NO_LABEL_WORDS
        )

    @property
    def values(self) -> bool:
        """Says whether as a label it is a value and no class."""
        if self.kind == "other":
            return True
        counts_up = self.least in (0, 1) and self.most - self.least + 1 == self.distinct
        return (
            self.kind == "whole"
            and not self.named_classes
            and not counts_up
            and self.distinct > _FEW_NUMBERS
        )

    def describe(self) -> str:
        """Gives the column as a list of columns has it."""
        name = shortened(printable(self.name), 40)
        if self.kind == "none":
            return f"{name} (neither texts nor numbers)"
        many = f"over {MOST_CLASSES:,}" if self.distinct > MOST_CLASSES else f"{self.distinct:,}"
        kind = "numbers" if self.kind in ("whole", "other") else self.kind
        return f"{name} ({kind}, {many} distinct)"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Says which columns were chosen, and what is not sure about that."""

    texts: tuple[str, ...]
    label: Column
    doubts: tuple[str, ...]
    columns: tuple[Column, ...]


def columns_of(source: Source) -> tuple[Column, ...]:
    """Looks at every column of train.

    Raises:
        SourceError: train cannot be read.
        InputError: it has no rows.
    """
    schema = source.rows("data", TRAIN, (), _NO_COLUMN).schemas[0][1]
    names = [name for name in schema.names if name != _NO_COLUMN]
    columns, errors = [], []
    for name in names:
        try:
            columns.append(_column(source, name))
        except SourceError as error:  # lists, or values of several kinds: no label and no text
            errors.append(error)
            columns.append(Column(name=name, kind="none", rows=0, distinct=0))
    if errors and len(errors) == len(names):
        raise errors[0]
    if not any(column.rows for column in columns):
        raise InputError(f"{source.describe()} has no rows in train; give labelled texts")
    return tuple(columns)


def choose(
    columns: Sequence[Column], where: str, *, texts: Sequence[str], label: str | None
) -> Choice:
    """Chooses the text columns and the label; what the user names wins.

    Raises:
        InputError: a named column is not there, or none can be told to be the label or a text.
    """
    for flag, name in [*(("--text", text) for text in texts), ("--label", label)]:
        if name is not None and all(column.name != name for column in columns):
            raise InputError(
                f"{flag} is {quoted(name)}, but {where} has no such column; it has "
                f"{_listed(columns)}"
            )
    if len(texts) > 2:
        raise InputError(
            f"--text names {len(texts)} columns, but an encoder reads one text or a pair of texts; "
            "name one or two"
        )
    column, doubts = _label(columns, where, texts, label)
    if column.name in texts:
        raise InputError(f"column {quoted(column.name)} is both text and label; name another one")
    chosen, more = (tuple(texts), []) if texts else _texts(columns, where, column.name)
    return Choice(texts=chosen, label=column, doubts=(*doubts, *more), columns=tuple(columns))


def _label(
    columns: Sequence[Column], where: str, texts: Sequence[str], label: str | None
) -> tuple[Column, list[str]]:
    if label is not None:
        return next(column for column in columns if column.name == label), []
    usable = [column for column in columns if column.kind != "none" and column.name not in texts]
    # a label that is a list is none of a task, which is said when the task is defined
    named = _named(usable) or _named([column for column in columns if column.name not in texts])
    if named:
        others = [f"{column.name} could be the label too" for column in named[1:] if column.few]
        return named[0], [f"{text}: write --label to take it" for text in others[:1]]
    few = [column for column in usable if column.few]
    if len(few) == 1:
        return few[0], [
            f"whether {few[0].name} is the label: no other column has few distinct values"
        ]
    numbers = [column for column in usable if column.kind == "other"]
    if not few and len(numbers) == 1:
        return numbers[0], [f"whether {numbers[0].name} is the label: no other holds numbers"]
    why = f"{len(few)} columns have few distinct values" if few else "none has few distinct values"
    raise InputError(
        f"{where}: no label column found; none is called {', '.join(_LABEL_WORDS[:7])} or the "
        f"like, and {why}; its columns are {_listed(columns)}; name the label: --label COLUMN"
    )


def _named(columns: Sequence[Column]) -> list[Column]:
    """Gives the columns that have a label's name, the surest first."""
    ranked = []
    for column in columns:
        words = re.split(r"[^a-z]+", word_of(column.name))
        for rank, word in enumerate(_LABEL_WORDS):
            exact = word_of(column.name) == word
            if exact or (word in words and column.few):
                ranked.append((not exact, rank, column))
                break
    return [column for _, _, column in sorted(ranked, key=lambda entry: entry[:2])]


def _texts(columns: Sequence[Column], where: str, label: str) -> tuple[tuple[str, ...], list[str]]:
    """Gives the column of the longest texts, or the pair that it is part of."""
    texts = [column for column in columns if column.kind == "text" and column.name != label]
    texts.sort(key=lambda column: -column.length)
    if not texts:
        raise InputError(
            f"{where}: no column of texts found beside the label {quoted(label)}; its columns are "
            f"{_listed(columns)}; name the texts: --text COLUMN"
        )
    names = [column.name for column in texts]
    chosen = next(
        (pair for pair in _pairs([c.name for c in columns if c in texts]) if names[0] in pair),
        (names[0],),
    )
    others = [
        column.name
        for column in texts
        if column.name not in chosen and 4 * column.length > texts[0].length
    ]
    if not others or len(chosen) == 2:
        return chosen, []
    return chosen, [
        f"whether {others[0]} should be read too: --text {chosen[0]} {others[0]} reads both as a "
        "pair"
    ]


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Gives the columns that are a pair by their names, in its order."""
    by_word = {word_of(name): name for name in names}
    pairs = [
        (by_word[one], by_word[two]) for one, two in _PAIRS if one in by_word and two in by_word
    ]
    for word, name in by_word.items():
        for first, second in (("1", "2"), ("_a", "_b")):
            partner = word.removesuffix(first) + second
            if word.endswith(first) and partner in by_word:
                pairs.append((name, by_word[partner]))
    return pairs


def _column(source: Source, name: str) -> Column:
    """Goes through a column once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    stored = source.rows("data", TRAIN, (), name)
    schema = stored.schemas[0][1]
    kind = label_type(schema, name)
    if pa.types.is_nested(kind) or pa.types.is_temporal(kind) or pa.types.is_binary(kind):
        return Column(name=name, kind="none", rows=0, distinct=0)
    distinct: set[Any] = set()
    rows, characters, low, high, all_whole = 0, 0, float("inf"), float("-inf"), True
    for _, batch in stored.rows.batches([name]):
        column = batch.column(0)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        rows += len(column)
        if len(distinct) <= MOST_CLASSES:
            distinct.update(pc.unique(column.drop_null()).to_pylist())
        if is_text(kind):
            characters += pc.sum(pc.utf8_length(column.cast(pa.large_string()))).as_py() or 0
        elif not pa.types.is_boolean(kind) and len(column) > column.null_count:
            numbers = column.cast(pa.float64()).drop_null()
            low, high = min(low, pc.min(numbers).as_py()), max(high, pc.max(numbers).as_py())
            all_whole = all_whole and bool(pc.all(pc.equal(numbers, pc.floor(numbers))).as_py())
    return Column(
        name=name,
        kind=_kind(kind, whole=all_whole),
        rows=rows,
        distinct=len(distinct),
        length=characters / max(1, rows),
        least=low,
        most=high,
        named_classes=class_words(schema, name) is not None,
    )


def _kind(kind: Any, *, whole: bool) -> str:
    import pyarrow as pa

    if is_text(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "truth"
    return "whole" if whole else "other"


def _listed(columns: Sequence[Column]) -> str:
    shown = [column.describe() for column in columns[:8]]
    end = [f"and {len(columns) - 8} more"] if len(columns) > 8 else []
    return ", ".join([*shown, *end])


def where_of(source: Source) -> str:
    """Names the train of a local data set for messages."""
    from pathlib import Path

    assert source.dataset is not None
    return shown_path(Path(source.dataset.path))
