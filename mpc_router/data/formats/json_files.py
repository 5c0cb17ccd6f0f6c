"""Rows of a JSON file: a list of objects, or objects one after the other (a line each).

Rows are counted from 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from mpc_router.data.formats._text_files import encoding_of, in_batches, typed, undecodable
from mpc_router.data.formats.mapped import mapped
from mpc_router.messages import quoted, shortened
from mpc_router.source_error import SourceError, shown

_CHUNK: Final = 1 << 18
"""Characters read at a time."""

_LONGEST_ROW: Final = 1 << 26
"""Characters of one object; more is one that is never closed."""

_DECODE: Final = json.JSONDecoder().raw_decode

_SPACE: Final = " \t\r\n"


def json_table(path: Path, texts: Sequence[str], label: str) -> Any:
    """Gives a pyarrow table of these text columns and the labels; what a row lacks is null.

    Where no row has one of the columns, it is a table of the columns that rows have, without rows.

    Raises:
        SourceError: the file is no text, no JSON, holds what is no object, a text that is none, or
            labels of several kinds.
    """
    import pyarrow as pa

    rows = _Rows(path, texts, label)
    schema = pa.schema([(name, pa.large_string()) for name in (*texts, label)])
    table = mapped(rows.batches(schema), schema)
    if rows.count and not rows.names >= {*texts, label}:
        return pa.schema([(name, pa.large_string()) for name in sorted(rows.names)]).empty_table()
    if rows.kinds and str not in rows.kinds:
        table = table.set_column(len(texts), label, typed(table.column(label)))
    return table


class _Rows:
    """Reads the objects of a file once, and keeps what columns and kinds of labels they have."""

    def __init__(self, path: Path, texts: Sequence[str], label: str) -> None:
        self._path = path
        self._texts = texts
        self._label = label
        self.count = 0
        self.names: set[str] = set()
        self.kinds: dict[type, int] = {}
        """The first row that has a label of each kind."""

    def batches(self, schema: Any) -> Iterator[Any]:
        """Gives pyarrow batches of texts; a label that is no text is one as JSON has it."""
        import pyarrow as pa

        with self._path.open(encoding=encoding_of(self._path)) as file:
            for batch in in_batches(self._values(file)):
                try:
                    columns = [
                        pa.array(column, pa.large_string()) for column in zip(*batch, strict=True)
                    ]
                except UnicodeEncodeError as error:
                    raise SourceError(
                        f"{shown(self._path)} holds half a surrogate pair (\\ud800 to \\udfff) in "
                        f"rows {self.count - len(batch)} to {self.count - 1}; mend that text"
                    ) from error
                yield pa.record_batch(columns, schema)

    def _values(self, file: TextIO) -> Iterator[list[str | None]]:
        try:
            for row in _Objects(file, self._path):
                if not self.count:
                    self._check_is_row(row)
                if not self.names >= row.keys():
                    self.names |= row.keys()
                texts = [self._text(row.get(name), name) for name in self._texts]
                yield [*texts, self._label_text(row.get(self._label))]
                self.count += 1
        except UnicodeError as error:
            raise undecodable(self._path, error) from error

    def _check_is_row(self, row: Mapping[str, Any]) -> None:
        """Raises a SourceError where the first object holds all rows."""
        if all(isinstance(value, list | dict) for value in row.values()):
            raise SourceError(
                f"{shown(self._path)} is an object with {quoted(sorted(row)[:5])}, which hold "
                "lists or objects, but must be a list of rows, [{...}, ...], or a row a line; "
                "pandas writes that by to_json(orient='records')"
            )

    def _text(self, value: object, name: str) -> str | None:
        if value is None or isinstance(value, str):
            return value
        raise SourceError(
            f"{shown(self._path)}: {name!r} of row {self.count} is {quoted(value)}, but must be a "
            "text; put it into quotes"
        )

    def _label_text(self, value: object) -> str | None:
        if value is None:
            return None
        if isinstance(value, list | dict):
            raise SourceError(
                f"{shown(self._path)}: {self._label!r} of row {self.count} is {quoted(value)}, but "
                "a task has one label a row; make a task of each label, or keep one of them"
            )
        kind = float if isinstance(value, int) and not isinstance(value, bool) else type(value)
        self.kinds.setdefault(kind, self.count)
        if len(self.kinds) > 1:
            first = self.kinds[next(iter(self.kinds))]
            raise SourceError(
                f"{shown(self._path)}: {self._label!r} of row {self.count} is {quoted(value)}, and "
                f"that of row {first} is of another kind; write all labels as texts, or all as "
                "numbers"
            )
        return value if isinstance(value, str) else json.dumps(value)


class _Objects:
    """Gives one object after the other; keeps only what is read of the file and not given yet."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._text = ""
        self._place = 0
        self._row = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        in_list = self._next(_SPACE) == "["
        self._place += in_list
        skipped = _SPACE + "," if in_list else _SPACE
        while (sign := self._next(skipped)) and not (in_list and sign == "]"):
            value = self._value()
            if not isinstance(value, dict):
                raise SourceError(
                    f"{shown(self._path)}: row {self._row} is {quoted(value)}, but must be an "
                    'object: {"text": "...", "label": ...}'
                )
            yield value
            self._row += 1
        if in_list and not sign:
            raise self._damaged("the list is not closed")
        self._place += len(sign)
        if self._next(_SPACE):
            raise self._damaged("more stands after the list")

    def _next(self, skipped: str) -> str:
        """Gives the next character that says something; none at the end of the file."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in skipped:
                self._place += 1
            if self._place < len(self._text):
                return self._text[self._place]
            self._text, self._place = self._file.read(_CHUNK), 0
            if not self._text:
                return ""

    def _value(self) -> object:
        """Gives the value that begins here; reads on where it is not whole."""
        while True:
            try:
                value, self._place = _DECODE(self._text, self._place)
                return value
            except (ValueError, RecursionError) as error:
                begun = self._text[self._place :]
                more = self._file.read(max(_CHUNK, len(begun)))
                if not more or len(begun) > _LONGEST_ROW:
                    reason = shortened(str(getattr(error, "msg", error)), 200)
                    raise self._damaged(reason) from error
                self._text, self._place = begun + more, 0

    def _damaged(self, reason: str) -> SourceError:
        return SourceError(f"{shown(self._path)}: row {self._row} is no JSON ({reason}); mend it")
