"""Rows of a JSON file: a list of objects, or objects one after the other (a line each).

Rows are counted from 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from mpc_router.data._mapped import mapped
from mpc_router.data._text_files import encoding_of, in_batches, typed, undecodable
from mpc_router.messages import quoted, shortened
from mpc_router.source_error import SourceError, shown

_CHUNK: Final = 1 << 18
"""Characters read at a time."""

_LONGEST_ROW: Final = 1 << 26
"""Characters of one object; more is one that is never closed."""

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
        rows.check_are_rows()
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
        self._nested = False
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

    def check_are_rows(self) -> None:
        """Raises a SourceError where the file is one object that holds all rows."""
        if self.count == 1 and self._nested:
            raise SourceError(
                f"{shown(self._path)} is one object with {quoted(sorted(self.names)[:5])}, but "
                "must be a list of rows, [{...}, ...], or a row a line; pandas writes that by "
                "to_json(orient='records')"
            )

    def _values(self, file: TextIO) -> Iterator[list[str | None]]:
        try:
            for row in _objects(file, self._path):
                if not self.names >= row.keys():
                    self.names |= row.keys()
                    self._nested |= any(isinstance(value, dict | list) for value in row.values())
                texts = [self._text(row.get(name), name) for name in self._texts]
                yield [*texts, self._label_text(row.get(self._label))]
                self.count += 1
        except UnicodeError as error:
            raise undecodable(self._path, error, row=self.count) from error

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


def _objects(file: TextIO, path: Path) -> Iterator[dict[str, Any]]:
    """Gives one object after the other; keeps only the one that is read."""
    decode = json.JSONDecoder().raw_decode
    text, place, row, in_list = "", 0, 0, None
    while True:
        place = _next(text, place, in_list)
        if place == len(text):
            text, place = file.read(_CHUNK), 0
            if text:
                continue
            if in_list:
                raise _damaged(path, row, "the list is not closed")
            return
        if in_list is None:
            in_list = text[place] == "["
            place += in_list
            continue
        if in_list and text[place] == "]":
            if (text[place + 1 :] + file.read(_CHUNK)).strip(_SPACE):
                raise _damaged(path, row, "more stands after the list")
            return
        while True:
            try:
                value, place = decode(text, place)
                break
            except (ValueError, RecursionError) as error:
                more = file.read(max(_CHUNK, len(text) - place))
                if not more or len(text) - place > _LONGEST_ROW:
                    reason = getattr(error, "msg", error)
                    raise _damaged(path, row, shortened(str(reason), 200)) from error
                text, place = text[place:] + more, 0
        if not isinstance(value, dict):
            raise SourceError(
                f"{shown(path)}: row {row} is {quoted(value)}, but must be an object: "
                '{"text": "...", "label": ...}'
            )
        yield value
        row += 1


def _next(text: str, place: int, in_list: bool | None) -> int:
    """Gives the place of the next character that says something; a list's commas say nothing."""
    skipped = _SPACE + "," if in_list else _SPACE
    while place < len(text) and text[place] in skipped:
        place += 1
    return place


def _damaged(path: Path, row: int, reason: str) -> SourceError:
    return SourceError(f"{shown(path)}: row {row} is no JSON ({reason}); mend it")
