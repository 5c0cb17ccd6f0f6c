"""Rows of a csv or tsv file, read once and exactly: every text is a text, also `null` and `007`.

Rows are counted from 0; the header and empty lines are none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from mpc_router.data.formats._text_files import encoding_of, in_batches, typed, undecodable
from mpc_router.data.formats.mapped import mapped
from mpc_router.messages import quoted
from mpc_router.source_error import SourceError, shown

_Quoting = Literal[0, 3]
"""`csv.QUOTE_MINIMAL` or `csv.QUOTE_NONE`."""

_LONGEST_VALUE: Final = 1 << 26
"""Characters of one value; more is a quote that is never closed."""


class _QuoteError(SourceError):
    """Says that quotes are not used as csv uses them."""


def csv_table(path: Path, texts: Sequence[str], label: str, *, delimiter: str) -> Any:
    """Gives a pyarrow table of these text columns and the labels.

    Labels have the type that all of them fit; an empty one is null. Where one of the columns is
    missing or there twice, it is a table of the header's columns without rows. A tsv file whose
    quotes are no csv quotes is read again with quotes as letters.

    Raises:
        SourceError: the file is no text, its quotes are damaged, or a row has too few or too many
            values.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_VALUE))
    try:
        return _table(path, texts, label, delimiter, csv.QUOTE_MINIMAL)
    except _QuoteError:
        if delimiter != "\t":
            raise
        return _table(path, texts, label, delimiter, csv.QUOTE_NONE)


def _table(path: Path, texts: Sequence[str], label: str, delimiter: str, quoting: _Quoting) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    records = _records(path, delimiter, quoting)
    header = next(records, None)
    if header is None:
        raise SourceError(f"{shown(path)} is empty; its first line must name the columns")
    names = [*texts, label]
    if any(header.count(name) != 1 for name in names):
        _check_separator(path, header, delimiter)
        return pa.schema([(name, pa.large_string()) for name in header]).empty_table()
    places = [header.index(name) for name in names]
    schema = pa.schema([(name, pa.large_string()) for name in names])
    rows = ([record[place] for place in places] for record in records)
    columns = (zip(*batch, strict=True) for batch in in_batches(rows))
    table = mapped(
        (pa.record_batch([pa.array(c, pa.large_string()) for c in b], schema) for b in columns),
        schema,
    )
    labels = table.column(label)
    blank = pc.equal(pc.utf8_trim_whitespace(labels), "")
    labels = typed(pc.if_else(blank, pa.scalar(None, pa.large_string()), labels))
    return table.set_column(len(texts), label, labels)


def _records(path: Path, delimiter: str, quoting: _Quoting) -> Iterator[list[str]]:
    """Gives the values of each line that is not empty, the header's first."""
    row, width = -1, 0
    with path.open(encoding=encoding_of(path), newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True, quoting=quoting)
        try:
            for record in reader:
                if not record:
                    continue
                width = width or len(record)
                if len(record) != width:
                    raise _QuoteError(
                        f"{shown(path)}: row {row} (it ends in line {reader.line_num}) has "
                        f"{len(record)} values, but the header names {width} columns; put texts "
                        "that hold separators or line breaks into quotes"
                    )
                yield record
                row += 1
        except csv.Error as error:
            raise _QuoteError(
                f"{shown(path)}: row {row} (near line {reader.line_num}) is no csv ({error}); put "
                "texts that hold separators, quotes or line breaks into quotes, and double a quote "
                "in them"
            ) from error
        except UnicodeError as error:
            raise undecodable(path, error) from error


def _check_separator(path: Path, header: Sequence[str], delimiter: str) -> None:
    """Raises a SourceError where values seem to be separated by another character."""
    others = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
    other = next((sign for sign in others if sign != delimiter and sign in header[0]), None)
    if len(header) == 1 and other is not None:
        raise SourceError(
            f"{shown(path)} names one column, {quoted(header[0])}: its values seem to be separated "
            f"by {others[other]}, but are read as separated by {others[delimiter]}; save it so"
        )
